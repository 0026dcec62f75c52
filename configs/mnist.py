"""MNIST with LeNet-300-100 (LeCun et al. 1998).

    jaxmask run --config=configs/mnist.py:dense
    jaxmask run --config=configs/mnist.py:supermask

- `dense` trains all weights: 20 epochs of batch 64, SGD without momentum from rate 0.1 on a cosine
  schedule. Test accuracy 97.97 % +- 0.04 (three seeds, `--config.seed=0` to `2`).
- `supermask` learns a mask over random weights, including the head, that are never trained (Zhou
  et al. 2019, "Deconstructing lottery tickets"; Ramanujan et al. 2020): 266,200 bits, no numbers.
  The mask rate is chosen from four on 5,000 held-out training images (50 each time). Test
  accuracy 97.83 % +- 0.07 (the same seeds), density 0.69, 33,763 bytes besides the random weights.
"""

from ml_collections import ConfigDict

from jaxmask.recipe import defaults

MODES = ("dense", "supermask")


def get_config(mode: str = "supermask") -> ConfigDict:
    """The experiment in one of its modes."""
    if mode not in MODES:
        raise ValueError(f"mnist has no mode {mode!r}; its modes are {', '.join(MODES)}")
    if mode == "dense":
        config = defaults.dense("mnist", epochs=20)
        config.train.optimizer = "sgd"
    else:
        config = defaults.adapt("mnist", epochs=20)
        config.start = "random"
        config.methods = ("mask",)
        config.mask.head = "mask"
        config.mask.train.update(defaults.PUBLISHED_SCORES)
        config.mask.choices = (10.0, 50.0, 250.0, 1000.0)
    config.network.name = "lenet_300_100"
    config.data.validation = 5000
    return config
