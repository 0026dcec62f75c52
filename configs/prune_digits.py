"""placeholder"""

from ml_collections import ConfigDict

from jaxmask.recipe import defaults


def get_config(mode: str = "") -> ConfigDict:
    """The experiment; it has one mode."""
    if mode:
        raise ValueError(f"prune_digits has no mode {mode!r}")
    config = defaults.lottery("digits", epochs=40)
    config.recipe = "prune"
    config.criterion = "snip"
    config.network.name = "lenet_300_100"
    config.rounds = 4
    config.data.validation = 0.2
    config.data.mean, config.data.std = (0.3,), (0.37,)
    config.train.optimiser = "sgd"
    config.train.schedule = "constant"
    config.train.select = "loss"
    config.train.patience = 5
    config.grid = (
        (("criterion,density", (("snip", 1.0),)), ("seed", (0, 1, 2))),
        (
            ("recipe,criterion,shots", (("prune", "random", 1), ("prune", "magnitude", 1),
                                        ("prune", "snip", 1), ("prune", "synflow", 100),
                                        ("lottery", "magnitude", 1))),
            ("density", (0.2, 0.05, 0.01)),
            ("seed", (0, 1, 2)),
        ),
    )  # fmt: skip
    config.together = 0  # runs under one vmap; 0: 16 on an accelerator, one on a CPU
    return config
