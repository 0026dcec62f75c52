"""MNIST with LeNet-300-100."""

from ml_collections import ConfigDict

from jaxmask.recipe import defaults

MODES = ("dense", "supermask")


def get_config(mode: str = "supermask") -> ConfigDict:
    """The experiment in one of its modes."""
    if mode not in MODES:
        raise ValueError(f"mnist has no mode {mode!r}; its modes are {', '.join(MODES)}")
    if mode == "dense":
        config = defaults.dense("mnist", epochs=20)
        config.train.optimiser = "sgd"
    else:
        config = defaults.adapt("mnist", epochs=20)
        config.start = "random"
        config.methods = ("mask",)
        config.mask.head = "mask"
        config.mask.choices = (1.0, 5.0, 20.0, 50.0)
    config.network.name = "lenet_300_100"
    config.data.validation = 5000
    return config
