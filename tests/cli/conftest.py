"""Programs compiled quickly."""

import pytest


@pytest.fixture(scope="module", autouse=True)
def every_module(quick_compilation):
    """Runs here are short."""
