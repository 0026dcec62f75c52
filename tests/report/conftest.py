"""A grid of finished runs."""

import numpy as np
import pytest
from finished_runs import make_dense, make_run


@pytest.fixture
def grid(tmp_path):
    """Two methods at two densities and the dense network, three seeds each."""
    folder = tmp_path / "grid"
    random = np.random.default_rng(0)
    for seed in range(3):
        make_dense(folder / f"dense-{seed}", 0.98 + 0.001 * seed, seed)
        for method, better in (("snip", 0.0), ("grasp(temperature=200.0)", 0.03)):
            for target in (0.5, 0.1):
                accuracy = 0.8 + 0.2 * target + better + 0.002 * random.normal()
                name = f"{method[:5]}-{target}-{seed}"
                make_run(folder / name, accuracy, method, target=target, seed=seed)
    return folder
