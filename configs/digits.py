"""Adapt a network from the digits 0 to 4 to the digits 5 to 9 by learning one bit per weight.

    jaxmask run --config=configs/digits.py

scikit-learn's digits, 8 x 8 pixels; a conv2 network of half the width; 60 epochs. Each method's
rate or regularization is chosen from four on held-out training images. Five seeds
(`--config.seed=0` to `4`, each with its own pretraining and splits), mean and sample standard
deviation:

| method | test accuracy | density | bytes to store |
|---|---|---|---|
| `linear_probe` | 89.64 % +- 1.77 | 1 | 2,623 |
| `full` | 97.50 % +- 1.21 | 1 | 343,143 |
| `mask` | 97.77 % +- 1.14 | 0.98 | 3,986 |

33 and 51 s (two first runs, nothing compiled before) on two CPU cores, 30 to 40 s after that
(JAX 0.10.2).
"""

from ml_collections import ConfigDict

from jaxmask.recipe import defaults


def get_config(mode: str = "") -> ConfigDict:
    """The experiment; it has one mode."""
    if mode:
        raise ValueError(f"digits has no mode {mode!r}")
    config = defaults.adapt("digits", epochs=60)
    config.network.name = "conv2"
    config.network.width = 0.5
    config.data.classes = (5, 6, 7, 8, 9)
    config.data.validation = 0.2
    config.pretrain.data.classes = (0, 1, 2, 3, 4)
    config.pretrain.data.validation = 0.2
    config.pretrain.train.learning_rate = 0.05
    config.mask.train.update(defaults.PUBLISHED_SCORES)
    config.mask.choices = (1.0, 5.0, 20.0, 50.0)
    return config
