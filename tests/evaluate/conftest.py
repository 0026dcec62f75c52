import pytest


@pytest.fixture(scope="module", autouse=True)
def every_module(quick_compilation):
    """Networks are drawn and run a few times."""
