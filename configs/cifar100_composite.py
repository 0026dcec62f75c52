"""The best composites and criteria on harder ground: VGG-11 on twenty classes of CIFAR-100.

    jaxmask sweep --config=cifar100_composite --workdir=runs/cifar100_composite
    jaxmask report runs/cifar100_composite

A quarter of VGG-11's channels (579,000 prunable weights, with batch norms), the first twenty
classes: 9,000 images to train on, 1,000 to choose the epoch by, 2,000 to test. 15 epochs of crops
and flips; SGD with momentum 0.9, weight decay 5e-4 and rate 0.05 on a cosine schedule, the same for
all and not tuned. 100 shots before training, scores on ten images per class. Compared are the two
composites and the two criteria that were best on the fresh seeds of `mnist_composite:finalists`, by
validation accuracy, and the whole network.
"""

from ml_collections import ConfigDict

from jaxmask.recipe import defaults

SEEDS = (0, 1, 2)
DENSITIES = (0.02, 0.005)


def get_config(mode: str = "") -> ConfigDict:
    """The experiment; it has one mode."""
    if mode:
        raise ValueError(f"cifar100_composite has no mode {mode!r}")
    config = defaults.prune("cifar100", epochs=15, learning_rate=0.05)
    config.network.name, config.network.width = "vgg11", 0.25
    config.shots = 100
    config.data.classes = tuple(range(20))
    config.data.validation = 1000
    config.data.crop_padding, config.data.flip = 4, True
    config.train.optimizer = "add_decayed_weights(5e-4), sgd(momentum=0.9)"
    config.train.schedule = "cosine"
    compared = (
        ("network", "snip(revive=True)"),
        ("network", "grasp(absolute=True)"),
        ("scores(synflow)", "snip(revive=True)"),
        ("scores(snip)", "synflow"),
    )
    config.grid = (
        (("density", DENSITIES), ("initial,criterion", compared), ("seed", SEEDS)),
        (("density", (1.0,)), ("seed", SEEDS)),
    )
    config.together = 0
    return config
