"""Adapt a network from the digits 0 to 4 to the digits 5 to 9 without a label.

    jaxmask run --config=configs/digits_self.py

Not measured yet.
"""

from ml_collections import ConfigDict

from jaxmask.recipe import defaults


def get_config(mode: str = "") -> ConfigDict:
    """The experiment; it has one mode."""
    if mode:
        raise ValueError(f"digits_self has no mode {mode!r}")
    config = defaults.self_mask("digits", epochs=30)
    config.network.name = "resnet20"
    config.network.width = 0.5
    config.data.classes = (5, 6, 7, 8, 9)
    config.data.validation = 0.2
    config.pretrain.data.classes = (0, 1, 2, 3, 4)
    config.pretrain.data.validation = 0.2
    config.pretrain.train.learning_rate = 0.05
    config.pretrain.train.epochs = 20
    config.loss = "swav(prototypes=30, queue=128)"
    config.views.flip = False
    config.views.large_scale = (0.5, 1.0)
    config.views.small_scale = (0.2, 0.5)
    config.views.blur = 0.0
    config.mask.choices = (5.0,)
    return config
