"""CIFAR-10 with ResNet-20."""

from ml_collections import ConfigDict

from jaxmask.recipe import defaults

MODES = ("dense", "supermask")


def get_config(mode: str = "dense") -> ConfigDict:
    """The experiment in one of its modes."""
    if mode not in MODES:
        raise ValueError(f"cifar10 has no mode {mode!r}; its modes are {', '.join(MODES)}")
    if mode == "supermask":
        config = defaults.adapt("cifar10", epochs=150)
        config.start = "random"
        config.methods = ("mask",)
        config.mask.train.schedule = "cosine(warmup_epochs=40)"
    else:
        config = defaults.dense("cifar10", epochs=200)
        config.train.optimiser = "add_decayed_weights(1e-4), sgd(momentum=0.9)"
        config.train.batch_size = 128
    config.network.name = "resnet20"
    config.data.validation = 5000
    config.data.crop_padding = 4
    config.data.flip = True
    return config
