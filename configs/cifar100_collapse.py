"""placeholder"""

from ml_collections import ConfigDict

from jaxmask.recipe import defaults

DENSITIES = (0.316, 0.1, 0.01, 0.001)


def get_config(mode: str = "") -> ConfigDict:
    """The experiment; it has one mode."""
    if mode:
        raise ValueError(f"cifar100_collapse has no mode {mode!r}")
    config = defaults.prune("cifar100", epochs=0)
    config.network.name = "vgg16"
    config.data.validation = 5000
    config.data.mean, config.data.std = (0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)
    config.grid = (
        (
            ("criterion,shots", (("random", 1), ("magnitude", 1), ("snip", 1), ("grasp", 1),
                                 ("synflow", 1), ("synflow", 100))),
            ("density", DENSITIES),
            ("seed", (0,)),
        ),
    )  # fmt: skip
    config.together = 0  # runs under one vmap; 0: 16 on an accelerator, one on a CPU
    return config
