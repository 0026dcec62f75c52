"""Programs compiled quickly."""

import pytest


@pytest.fixture(scope="module", autouse=True)
def every_module(quick_compilation):
    """Trainings here are short."""
