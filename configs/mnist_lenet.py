"""docstring later"""

from ml_collections import ConfigDict

from jaxmask.recipe import defaults

DENSITIES = (0.5, 0.2, 0.1, 0.015, 0.01, 0.007, 0.005)
SEEDS = (0, 1, 2)


def get_config(mode: str = "upfront") -> ConfigDict:
    """The experiment in one of its modes."""
    grids = {
        "upfront": (
            (("criterion,density", (("snip", 1.0),)), ("seed", SEEDS)),
            (
                ("criterion,shots", (("random", 1), ("magnitude", 1), ("snip", 1), ("grasp", 1),
                                     ("synflow", 1), ("snip", 100), ("grasp", 100),
                                     ("synflow", 100))),
                ("density", DENSITIES),
                ("seed", SEEDS),
            ),
        ),
        "grasp": (
            (
                ("criterion", ("grasp(temperature=200)", "grasp(absolute=True)",
                               "grasp(temperature=200, absolute=True)")),
                ("shots", (1, 100)),
                ("density", (0.2, 0.01, 0.005)),
                ("seed", SEEDS),
            ),
        ),
        "why": (
            # the published budget of epochs, and no early stopping
            (
                ("criterion,shots", (("snip", 100), ("synflow", 100))),
                ("density", (0.005,)),
                ("train.epochs", (100,)),
                ("seed", SEEDS),
            ),
            (
                ("density,train.select,train.patience", ((1.0, "accuracy", 0),)),
                ("seed", SEEDS),
            ),
            # iterative magnitude pruning that removes the same number in each round
            (
                ("recipe,criterion,round_schedule", (("lottery", "magnitude", "linear"),)),
                ("density", (0.005,)),
                ("seed", SEEDS),
            ),
        ),
        "lottery": tuple(
            (
                ("recipe", ("lottery",)),
                ("density", densities),
                ("criterion", ("magnitude", "snip", "synflow")),
                ("seed", SEEDS),
            )
            for densities in ((0.005, 0.015, 0.1), (0.5, 0.2, 0.01, 0.007))
        ),
    }  # fmt: skip
    if mode not in grids:
        raise ValueError(f"mnist_lenet has no mode {mode!r}; its modes are {', '.join(grids)}")
    config = defaults.lottery("mnist", epochs=20)
    config.recipe = "prune"
    config.criterion = "snip"
    config.network.name = "lenet_300_100"
    config.data.validation = 5000
    config.data.mean, config.data.std = (0.1307,), (0.3081,)
    config.train.optimiser = "sgd"
    config.train.schedule = "constant"
    config.train.select = "loss"
    config.train.patience = 5
    config.grid = grids[mode]
    config.together = 0  # runs under one vmap; 0: 16 on an accelerator, one on a CPU
    return config
