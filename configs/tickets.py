"""Tickets of several tasks in one pretrained network, each used on all: the transfer matrix.

    jaxmask run --config=tickets:start --workdir=runs/tickets_start
    jaxmask run --config=tickets --workdir=runs/tickets

- `start`: the network of the next mode, trained on the digits 0 to 3.
- `digits`: tasks of the digits 4 to 6, of 7 to 9, and of all ten; LeNet-300-100.
"""

from ml_collections import ConfigDict

from jaxmask.recipe import defaults

MODES = ("digits", "start")


def get_config(mode: str = "digits") -> ConfigDict:
    """The experiment in one of its modes."""
    if mode not in MODES:
        raise ValueError(f"tickets has no mode {mode!r}; its modes are {', '.join(MODES)}")
    recipe = defaults.dense if mode == "start" else defaults.tickets
    config = recipe("digits", epochs=20, learning_rate=0.05)
    config.network.name = "lenet_300_100"
    config.data.validation = 0.2
    config.data.mean, config.data.std = (0.3,), (0.37,)
    if mode == "start":
        config.data.classes = (0, 1, 2, 3)
        return config
    config.start = "runs/tickets_start"
    config.density, config.rounds = 0.1, 4
    config.tasks = ConfigDict(
        {"low": {"classes": (4, 5, 6)}, "high": {"classes": (7, 8, 9)}, "all": {"classes": ()}}
    )
    return config
