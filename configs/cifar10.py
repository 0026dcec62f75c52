"""CIFAR-10 with ResNet-20 (He et al. 2016).

    jaxmask run --config=configs/cifar10.py
    jaxmask run --config=configs/cifar10.py:supermask

- `dense` trains all weights: 200 epochs of batch 128, SGD with momentum 0.9 and weight decay 1e-4
  from rate 0.1 on a cosine schedule, random crops and flips. Published for this network (other
  schedule): 91.25 %. `cifar100.py:resnet20` can start from its run directory.
- `supermask` learns a mask over random weights and a new head; rates chosen on validation data.

Not measured: the data was not available. `dense` is 200 epochs of 351 steps, `supermask` five
trainings of 150 epochs of 703 steps; a step of batch 64 took 0.16 to 0.28 s on two CPU cores
(`python -m benchmarks.masked_step`), so both need a GPU.
"""

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
        config.mask.train.update(defaults.PUBLISHED_SCORES)
        config.mask.choices = (1.0, 5.0, 20.0, 50.0)
    else:
        config = defaults.dense("cifar10", epochs=200)
        config.train.optimizer = "add_decayed_weights(1e-4), sgd(momentum=0.9)"
        config.train.batch_size = 128
    config.network.name = "resnet20"
    config.data.validation = 5000
    config.data.crop_padding = 4
    config.data.flip = True
    return config
