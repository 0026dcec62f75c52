"""Cascades: a mask for all images without labels, then experts for clusters of its embeddings.

    jaxmask run --config=cascade:digits
    jaxmask run --config=cascade:resnet20 --config.start=PATH
    jaxmask run --config=cascade:resnet50_swav --config.start=PATH

`digits`, the default: as in `digits_self`, a ResNet-20 of half the width, trained on the digits
0 to 4 of scikit-learn's, adapts to the 538 training images of the digits 5 to 9 without a label;
three experts. Seeds 1 to 3 with the rate that seed 0 chose (`--config.mask.choices=80.0`), accuracy
on the 224 test images:

| network | linear probe | k-NN | density | bytes to store |
|---|---|---|---|---|
| `untouched` | 85.42 % +- 0.52 | 80.95 % +- 1.80 | 1 | 0 |
| `dispatcher` | 95.24 % +- 0.93 | 94.20 % +- 1.18 | 0.63 | 11,918 |
| `dispatcher_whitened` | 94.64 % +- 0.45 | 95.39 % +- 0.52 | 0.63 | 15,971 |
| `conditional` | 95.24 % +- 0.93 | 94.94 % +- 1.03 | 0.59 | 58,246 |
| `unconditional` | 96.88 % +- 0.89 | 96.43 % +- 0.00 | 0.59 | 55,940 |
| `random` | 96.73 % +- 0.52 | 96.58 % +- 0.93 | 0.59 | 54,491 |
| `long` | 95.98 % +- 1.18 | 96.43 % +- 0.45 | 0.55 | 12,347 |
| `long_whitened` | 95.98 % +- 0.77 | 95.98 % +- 0.89 | 0.55 | 16,398 |

All experts gain 2.2 points of the probe over the whitened dispatcher (p = 0.04, paired), experts of
random images as much: the gain of an ensemble.

`resnet20`: the CIFAR-10 ResNet-20 adapts to 5,000 images of CIFAR-100, 500 of them held out, by
SimCLR on two views of 32 pixels; five experts. Seed 0, 10,000 test images; 66 minutes of training
on two cores shared with up to ten other processes:

| network | linear probe | k-NN | density | bytes to store |
|---|---|---|---|---|
| `untouched` | 28.90 % | 18.51 % | 1 | 0 |
| `dispatcher` | 25.98 % | 19.07 % | 0.991 | 32,775 |
| `dispatcher_whitened` | 25.49 % | 23.79 % | 0.991 | 48,744 |
| `conditional` | 22.18 % | 20.51 % | 0.982 | 181,622 |
| `unconditional` | 30.16 % | 29.16 % | 0.982 | 172,058 |
| `random` | 27.42 % | 27.08 % | 0.983 | 170,266 |
| `long` | 29.36 % | 20.79 % | 0.955 | 38,717 |
| `long_whitened` | 27.60 % | 26.64 % | 0.955 | 54,379 |

All experts beat the whitened dispatcher by 4.7 and 5.4 points, experts of random images by 2.7 and
2.1, one mask trained for as long, whitened alike, by 2.6 and 2.5 (McNemar, all p < 1e-6: of these
networks, not of other seeds). The conditional cascade is below its whitened dispatcher.

`resnet50_swav`: the published settings, SwAV's ResNet-50 on CIFAR-100 at 224 pixels: 150 epochs of
batches of 64, rate 50, 500 prototypes, five experts by a Gaussian mixture on 20 whitened principal
components. Not measured: neither the weights nor a GPU were available. With both controls it is 17
trainings' worth of 150 epochs of 703 steps, of two views of 224 pixels and six of 96 each.

`--config.router="kmeans(clusters=8)"` takes another router; `--config.controls=()` leaves out the
experts of random images and the long mask: of `resnet20`, 11 of 17 trainings' worth.
"""

from ml_collections import ConfigDict

from jaxmask.recipe import defaults

MODES = ("digits", "resnet20", "resnet50_swav")
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # mean, std of the channels


def get_config(mode: str = "digits") -> ConfigDict:
    """The experiment in one of its modes."""
    if mode not in MODES:
        raise ValueError(f"cascade has no mode {mode!r}; its modes are {', '.join(MODES)}")
    config = defaults.cascade("digits" if mode == "digits" else "cifar100", epochs=150)
    globals()[mode](config)
    return config


def digits(config: ConfigDict) -> None:
    """The digits 5 to 9, from a network that has seen 0 to 4; see `digits_self`."""
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
    config.views.small = 0  # which SimCLR does not compare
    config.views.flip = False
    config.views.jitter = config.views.gray = config.views.blur = 0.0
    config.views.large_scale = (0.7, 1.0)
    config.views.small_scale = (0.3, 0.7)
    config.loss = "simclr(dimension=32, temperature=0.2)"
    config.router = "mixture(components=3, principal=10)"
    config.mask.train.epochs = 300
    config.mask.train.learning_rate = 0.1
    config.mask.choices = (5.0, 20.0, 80.0)


def resnet20(config: ConfigDict) -> None:
    """CIFAR-10 weights at --config.start=PATH; 5,000 images of CIFAR-100."""
    config.start = ""
    config.network.name = "resnet20"
    config.data.mean, config.data.std = IMAGENET
    config.data.share = 0.1
    config.data.validation = 500
    config.views.small = 0
    config.views.large_scale = (0.5, 1.0)
    config.views.jitter = 0.3
    config.views.gray = config.views.blur = 0.0
    config.loss = "simclr(temperature=0.2)"
    config.mask.train.epochs = 8
    config.mask.choices = (2.0,)
    config.watch_epochs = 4
    config.linear_probe.choices = (1e-3, 1e-2, 1e-1)


def resnet50_swav(config: ConfigDict) -> None:
    """The published settings; SwAV's weights at --config.start=PATH."""
    config.start = ""
    config.network.name = "resnet50"
    config.network.compute_dtype = "bfloat16"
    config.data.validation = 5000
    config.data.decode_size = 224
    config.mask.train.schedule = "cosine(warmup_epochs=40)"
    config.mask.choices = (50.0,)
    config.knn.choices = (200,)
