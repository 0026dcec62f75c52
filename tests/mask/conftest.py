"""float64 for the tests that ask for it, and no other; programs compiled quickly."""

import jax
import pytest


@pytest.fixture
def x64():
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="module", autouse=True)
def every_module(quick_compilation):
    """Compiles quickly."""
