"""Equivalent hyperparameters of masks: which of them matter, from real loss curves.

    jaxmask sweep --config=equivalent --workdir=runs/equivalent
    jaxmask sweep --config=equivalent:resnet20 --workdir=runs/equivalent20 --config.start=PATH
"""

from ml_collections import ConfigDict

from jaxmask.recipe import defaults

MODES = ("digits", "resnet20")
SEEDS = (0, 1, 2)


def get_config(mode: str = "digits") -> ConfigDict:
    """The experiment on digits, or on CIFAR-100."""
    if mode not in MODES:
        raise ValueError(f"equivalent has no mode {mode!r}; its modes are {', '.join(MODES)}")
    config = defaults.adapt("digits", epochs=30)
    config.methods = ("mask",)
    globals()[mode](config)
    config.mask.train.select = "last"
    return config


def digits(config: ConfigDict) -> None:
    """From the digits 0 to 4 to the digits 5 to 9."""
    config.network.name, config.network.width = "conv2", 0.5
    config.data.classes, config.pretrain.data.classes = (5, 6, 7, 8, 9), (0, 1, 2, 3, 4)
    config.data.validation = config.pretrain.data.validation = 0.2
    config.pretrain.train.learning_rate = 0.05
    config.mask.train.schedule = "constant"
    config.grid = _grid(20.0)


def resnet20(config: ConfigDict) -> None:
    """CIFAR-10 weights at --config.start=PATH; 8,000 images of CIFAR-100, 5 epochs."""
    config.start = ""
    config.network.name = "resnet20"
    config.data.name, config.data.share, config.data.validation = "cifar100", 0.2, 2000
    config.data.mean, config.data.std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    config.data.crop_padding, config.data.flip = 4, True
    config.mask.train.epochs = 5
    config.grid = _grid(10.0)


def _grid(rate: float) -> tuple[tuple[tuple[str, tuple[object, ...]], ...], ...]:
    """(rate, initial scores, threshold): standard, the same in other numbers, and neither."""
    settings = (
        (rate, 1.0, 0.0),
        (2 * rate, 2.0, 0.0),
        (2 * rate, 2.5, 0.5),
        (2 * rate, 1.0, 0.0),
        (rate, 2.0, 0.0),
        (rate, 1.0, 0.5),
    )
    points = tuple(
        ((chosen,), f"threshold(mu={mu}, init=constant({start}), rescale=True)")
        for chosen, start, mu in settings
    )
    return ((("mask.choices,mask.transform", points), ("seed", SEEDS)),)
