"""float64 for the tests that ask for it, and no other; programs compiled quickly."""

import jax
import pytest


@pytest.fixture
def x64():
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="module", autouse=True)
def quick_compilation():
    """Programs here are small and run a few times: compiling them is what takes long."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)
