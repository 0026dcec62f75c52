"""How many scores a mask needs, and how much of it is the pretrained weights.

jaxmask sweep --config=trainable_scores --workdir=runs/trainable_scores
jaxmask sweep --config=trainable_scores:resnet20 --workdir=runs/scores20 --config.start=PATH
jaxmask sweep --config=trainable_scores:resnet20 --workdir=runs/random20 --config.start=random
"""

from ml_collections import ConfigDict

from jaxmask.recipe import defaults

MODES = ("digits", "resnet20")
SEEDS = (0, 1, 2)
SHARES = tuple(tenth / 10 for tenth in range(1, 10))
Axis = tuple[str, tuple[object, ...]]


def get_config(mode: str = "digits") -> ConfigDict:
    """The experiment on digits, or on CIFAR-100."""
    if mode not in MODES:
        raise ValueError(f"trainable_scores has no mode {mode!r}; its modes: {', '.join(MODES)}")
    config = defaults.adapt("digits", epochs=15)
    config.network.name = "resnet20"
    config.methods = ("mask",)
    config.linear_probe.choices = (0.01,)
    globals()[mode](config)
    return config


def digits(config: ConfigDict) -> None:
    """From the digits 0 to 4 to the digits 5 to 9, a network of a quarter of the width."""
    config.network.width = 0.25
    config.data.classes, config.pretrain.data.classes = (5, 6, 7, 8, 9), (0, 1, 2, 3, 4)
    config.data.validation = config.pretrain.data.validation = 0.2
    config.pretrain.train.epochs = 20
    config.pretrain.train.learning_rate = 0.05
    config.mask.choices = (20.0,)
    config.grid = _grid(("start", ("pretrain", "random")))


def resnet20(config: ConfigDict) -> None:
    """CIFAR-10 weights at --config.start=PATH, or "random"; 8,000 images of CIFAR-100, 5 epochs."""
    config.start = ""
    config.data.name, config.data.share, config.data.validation = "cifar100", 0.2, 2000
    config.data.mean, config.data.std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    config.data.crop_padding, config.data.flip = 4, True
    config.mask.train.epochs = 5
    config.mask.choices = (10.0,)
    config.grid = _grid()


def _grid(*start: Axis) -> tuple[tuple[Axis, ...], ...]:
    """No scores, those of the first stages, and shares of all scores."""
    each = (*start, ("seed", SEEDS))
    shares = ("mask.trainable_share", SHARES)
    return (
        (("methods", (("linear_probe",),)), *each),
        (("mask.stages", (1, 2, 3)), *each),  # three are all
        (shares, ("mask.trainable_by", ("random",)), *each),
        (shares, ("mask.trainable_by", ("magnitude",)), *each),
    )
