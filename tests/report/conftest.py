"""A grid of finished runs."""

import pytest
from finished_runs import make_grid


@pytest.fixture
def grid(tmp_path):
    """Two methods at two densities and the dense network, three seeds each."""
    return make_grid(tmp_path / "grid")
