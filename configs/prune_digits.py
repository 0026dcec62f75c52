"""Pruning in a minute: five ways to find a ticket, three densities, three seeds, real digits.

    jaxmask sweep --config=configs/prune_digits.py --workdir=runs/prune_digits
    jaxmask report runs/prune_digits --baseline="snip USS"

scikit-learn's digits, 8 x 8 pixels; LeNet-300-100, 50,200 prunable weights; at most 40 epochs,
early stopping. SynFlow prunes in 100 shots, the lottery in 4 rounds. Test accuracy in %, mean +-
sample standard deviation over seeds 0 to 2; * p < 0.05, Welch's t-test against `snip USS`,
Holm-corrected:

| method | 1 | 0.2 | 0.05 | 0.01 |
| --- | --- | --- | --- | --- |
| dense | 97.18 +- 0.51 |  |  |  |
| magnitude USS |  | 96.59 +- 0.72 | 29.99 +- 6.53* | 10.02 +- 0.00 |
| magnitude ISS |  | 96.96 +- 1.00 | 95.99 +- 0.22 | 93.91 +- 0.56 |
| random USS |  | 95.99 +- 0.89 | 62.29 +- 6.54 | 12.99 +- 3.04 |
| snip USS |  | 96.73 +- 1.58 | 95.10 +- 0.80 | 67.26 +- 14.72 |
| synflow UMS |  | 96.88 +- 0.80 | 95.47 +- 0.68 | 89.16 +- 0.68 |

48 runs in 49 s on two CPU cores.
"""

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
    config.train.optimizer = "sgd"
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
