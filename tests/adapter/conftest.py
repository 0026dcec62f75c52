"""Programs of one test are of no use to the next, and lie in the worker's memory."""

import jax
import pytest


@pytest.fixture(autouse=True)
def forget_after_each_test():
    yield
    jax.clear_caches()
