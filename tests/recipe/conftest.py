"""Programs compiled quickly."""

import experiments
import pytest


@pytest.fixture(scope="module", autouse=True)
def every_module(quick_compilation):
    """Runs here are short."""


@pytest.fixture(scope="module")
def without_figures():
    """For modules that look at none."""
    with pytest.MonkeyPatch.context() as patch:
        experiments.without_figures(patch)
        yield
