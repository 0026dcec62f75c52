"""Adapt a network from the digits 0 to 4 to the digits 5 to 9 without a label.

    jaxmask run --config=configs/digits_self.py
    jaxmask run --config=configs/digits_self.py:simclr

scikit-learn's digits, 8 x 8 pixels; a ResNet-20 of half the width, trained on the digits 0 to 4
with labels, then 300 epochs on the 537 training images of the digits 5 to 9 without. Features are
measured by k-NN and by a linear probe on all labels.

Not measured yet on fresh seeds.
"""

from ml_collections import ConfigDict

from jaxmask.recipe import defaults

MODES = ("swav", "simclr")


def get_config(mode: str = "swav") -> ConfigDict:
    """The experiment with one of two losses."""
    if mode not in MODES:
        raise ValueError(f"digits_self has no mode {mode!r}; its modes are {', '.join(MODES)}")
    config = defaults.self_mask("digits", epochs=300)
    config.network.name = "resnet20"
    config.network.width = 0.5
    config.data.classes = (5, 6, 7, 8, 9)
    config.data.validation = 0.2
    config.pretrain.data.classes = (0, 1, 2, 3, 4)
    config.pretrain.data.validation = 0.2
    config.pretrain.train.learning_rate = 0.05
    config.pretrain.train.epochs = 20
    config.watch_epochs = 50
    # digits have no mirror image, no color, and no detail to blur
    config.views.flip = False
    config.views.jitter = config.views.gray = config.views.blur = 0.0
    config.views.large_scale = (0.7, 1.0)
    config.views.small_scale = (0.3, 0.7)
    config.loss = "swav(prototypes=20, queue=128)"
    config.mask.choices = (5.0, 20.0, 80.0)
    config.full.choices = (0.02, 0.1, 0.5)
    config.mask.train.learning_rate = 0.3
    if mode == "simclr":
        config.loss = "simclr(dimension=32, temperature=0.2)"
        config.mask.train.learning_rate = 0.1
    return config
