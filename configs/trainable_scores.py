"""How many scores a mask needs, and how much of it is the pretrained weights.

    jaxmask sweep --config=trainable_scores --workdir=runs/trainable_scores
    jaxmask sweep --config=trainable_scores:resnet20 --workdir=runs/trainable20
"""

from ml_collections import ConfigDict

from jaxmask.recipe import defaults

MODES = ("digits", "resnet20")
SEEDS = (0, 1, 2)
SHARES = tuple(tenth / 10 for tenth in range(1, 10))


def get_config(mode: str = "digits") -> ConfigDict:
    """The experiment on digits, or on CIFAR-100."""
    if mode not in MODES:
        raise ValueError(f"trainable_scores has no mode {mode!r}; its modes: {', '.join(MODES)}")
    config = defaults.adapt("digits", epochs=30)
    config.network.name = "resnet20"
    config.methods = ("mask",)
    globals()[mode](config)
    config.linear_probe.choices = (0.01,)
    both = ("start", ("pretrain", "random")), ("seed", SEEDS)
    config.grid = (
        (("methods", (("linear_probe",),)), *both),  # no score at all
        (("mask.stages", (1, 2, 3)), *both),  # three are all
        (("mask.trainable_share", SHARES), ("mask.trainable_by", ("random",)), *both),
        (("mask.trainable_share", SHARES), ("mask.trainable_by", ("magnitude",)), *both),
    )
    return config


def digits(config: ConfigDict) -> None:
    """From the digits 0 to 4 to the digits 5 to 9, a network of a quarter of the width."""
    config.network.width = 0.25
    config.data.classes, config.pretrain.data.classes = (5, 6, 7, 8, 9), (0, 1, 2, 3, 4)
    config.data.validation = config.pretrain.data.validation = 0.2
    config.pretrain.train.epochs = 20
    config.pretrain.train.learning_rate = 0.05
    config.mask.choices = (20.0,)


def resnet20(config: ConfigDict) -> None:
    """From the classes 0 to 49 of CIFAR-100 to the classes 50 to 99, with a fifth of the labels."""
    config.data.name, config.data.share, config.data.validation = "cifar100", 0.2, 1000
    config.data.crop_padding, config.data.flip = 4, True
    config.pretrain.data = config.data.copy_and_resolve_references()
    config.pretrain.data.name, config.pretrain.data.share = "", 1.0
    config.pretrain.data.validation = 2500
    config.pretrain.data.classes = tuple(range(50))
    config.data.classes = tuple(range(50, 100))
    config.pretrain.train.optimizer = "add_decayed_weights(5e-4), sgd(momentum=0.9)"
    config.pretrain.train.epochs = 20
    config.mask.train.epochs = 10
    config.mask.choices = (50.0,)
