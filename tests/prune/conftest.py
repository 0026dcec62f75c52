"""Small programs, compiled quickly."""

import pytest


@pytest.fixture(scope="module", autouse=True)
def every_module(quick_compilation):
    """Compiles quickly."""
