"""CIFAR-100: adapt a frozen pretrained network by learning one bit per weight.

    jaxmask run --config=configs/cifar100.py
    jaxmask sweep --config=configs/cifar100.py:resnet20 --config.start=PATH
    jaxmask sweep --config=configs/cifar100.py:resnet20_seeds --config.start=PATH
    jaxmask sweep --config=configs/cifar100.py:resnet20_rates --config.start=PATH
    jaxmask run --config=configs/cifar100.py:resnet18 --config.start=PATH
    jaxmask run --config=configs/cifar100.py:scratch
    jaxmask run --config=configs/cifar100.py:smoke

The first command needs only the data (`launch/prepare cifar100`; or, without TensorFlow, the
package `datasets` and `--config.data.name=hf:uoft-cs/cifar100#fine_label`), and states its cost
before it starts. PATH is a run directory of the recipe `dense`, or a checkpoint
(`jaxmask.model.pretrained`).

`halves`, the default: a network learns classes 0 to 49, then adapts to classes 50 to 99, with the
rate or regularization that is best of three on held-out images; the test split is read once. On a
machine without accelerator it is `halves_cpu`: ResNet-20, trained on 22,500 images for 20 epochs,
adapted with a fifth of the labels (4,000 images trained on, 1,000 held out) for 10 epochs; 9
trainings of 11,980 steps in all. Seed 0, 68.56 % on the first half
after pretraining; on the second half (5,000 test images):

| method | test accuracy | density | bytes to store | chosen |
|---|---|---|---|---|
| `linear_probe` | 50.86 % | 1 | 12,788 | 0.001 |
| `full` | 57.48 % | 1 | 1,016,373 | 0.1, the highest |
| `mask` | 54.30 % | 0.846 | 36,898 | 50, the highest |

One seed; where the best rate is the highest of three, a higher one may be better still. It took 81
minutes of training on two cores shared with up to ten other processes, killed once and resumed. At
the rate of its first minutes (420 images per second) it would take half an hour.

With an accelerator it is `halves_accelerator`: ResNet-18 for 32 pixels in bfloat16, all labels
(22,500 images of each half trained on), 100 epochs, then 60; 9 trainings of 101,500 steps of 128
images in all. Not measured: none was available.

`resnet20`: a CIFAR-10 ResNet-20 (91.73 % there) is adapted to CIFAR-100 with a fifth of its labels:
10,000 images, 2,000 of them held out, 8,000 trained on for 5 epochs of 125 steps. Each method's
rate, regularization or number of neighbors is chosen from three on the held-out images; the test
split is read once. Seed 0; `full` and `mask` also on the new seeds 1 and 2 (`resnet20_seeds`) with
the rate that seed 0 chose: mean and standard deviation of three. Bytes: all that the task needs
besides the base network, compressed (including the 6,500 numbers of the new head).

| method | test accuracy | density | bytes to store | chosen |
|---|---|---|---|---|
| `knn` | 20.96 % | 1 | 1,848,145 | 50 neighbors |
| `linear_probe` | 31.01 % | 1 | 25,112 | 0.001 |
| `bias` | 29.98 % | 1 | 33,128 | 0.3, the highest |
| `norm` | 31.40 % | 1 | 35,832 | 0.3, the highest |
| `mask_topk`, at the density of `mask` | 33.15 % | 0.955 | 38,731 | 2.5, the highest |
| `mask` | 33.89 % +- 0.92 | 0.955 | 38,828 | 10 |
| `lora`, rank 4 | 37.15 % | 1 | 125,361 | 0.3, the highest |
| `full` | 42.18 % +- 0.10 | 1 | 1,033,197 | 0.1 |

Such short training favors methods with a large early effect; where the best rate is the highest of
the three, a higher one may be better still. The ranges of `full`, `lora`, `mask` and `mask_topk`
were moved once, after two choices of `full` and a little more than two of `mask` (250 gave 4 %
after one and a half epochs, 0.01 24 %). An hour and a half on two cores shared with other work.

Density by layer, `mask`, seed 0: 0.942 in the first convolution, 0.917 to 0.955 in stage 1, 0.944
to 0.966 in stage 2, 0.942 to 0.974 in stage 3: all layers are thinned about equally.

`resnet20_rates`: the published mask rate is 50, for 224 pixels and 150 epochs. Here, on the
held-out images (seed 0):

| mask rate | 2 | 5 | 10 | 20 | 50 | 200 |
|---|---|---|---|---|---|---|
| validation accuracy | 27.4 % | 32.1 % | 36.2 % | 34.8 % | 28.7 % | 16.7 % |
| density found | 0.994 | 0.979 | 0.955 | 0.912 | 0.846 | 0.728 |

A rate within a factor of two of the best costs up to 4 points, a factor of five 7 to 9. The rate
determines the density, and so the bytes.

Not measured:

- `resnet20_labels`: fractions of the labels from 100 to 0.25 %, as a grid. 100 % is 12 trainings of
  3,125 steps, other fractions take fewer: an estimated four hours on two cores at 0.17 s per step.
- `resnet20_long`: the published settings (mu = 0, scores from 1, SGD with momentum 0.9, batch 64,
  150 epochs, warm-up to epoch 40, then cosine) on all labels, 45,000 of them trained on:
  24 trainings of 105,450 steps, five hours each.
- `resnet56`: as `resnet20`, at about three times the cost.
- `resnet18`: ImageNet weights, images enlarged to 224 pixels. Published: k-NN 58.9 %, full
  fine-tuning 75.9 %, mask 76.0 %. Neither the weights nor a GPU were available. Eight trainings
  of 150 epochs of 703 steps.
- `scratch`: random weights, ResNet-18 for 32 pixels; needs a GPU.

`smoke`: ResNet-20 of half the width learns ten classes, then adapts to ten others, untuned, on two
fifths of their labels: a check that everything works, not of how well. Linear probe 33.1 %, full
fine-tuning 28.0 %, mask 37.0 % (seed 0; 1,000 test images; two CPU cores). On another
processor, whose sums round otherwise, the same code gave 34.1, 31.5 and 35.1 %.
"""

import jax
from ml_collections import ConfigDict

from jaxmask.recipe import defaults

MODES = ("halves", "halves_cpu", "halves_accelerator", "resnet18", "resnet20", "resnet20_seeds",
         "resnet20_rates", "resnet20_labels", "resnet20_long", "resnet56", "scratch",
         "smoke")  # fmt: skip
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # mean, std of the channels
# for ResNet-20: three per method that trains; of scores for masks, else of weights
RATES = {
    "full": (0.03, 0.1, 0.3),
    "bias": (0.03, 0.1, 0.3),
    "norm": (0.03, 0.1, 0.3),
    "lora": (0.03, 0.1, 0.3),
    "mask": (2.0, 10.0, 50.0),
    "mask_topk": (0.1, 0.5, 2.5),
}


def get_config(mode: str = "") -> ConfigDict:
    """The experiment in one of its modes; by default `halves`."""
    mode = mode or "halves"
    if mode not in MODES:
        raise ValueError(f"cifar100 has no mode {mode!r}; its modes are {', '.join(MODES)}")
    config = defaults.adapt("cifar100", epochs=150)
    config.data.validation = 5000
    config.data.crop_padding = 4
    config.data.flip = True
    config.linear_probe.choices = (1e-4, 1e-3, 1e-2)
    config.full.train.optimizer = "add_decayed_weights(5e-4), sgd(momentum=0.9)"
    config.full.choices = (0.001, 0.01, 0.1)
    config.mask.train.schedule = "cosine(warmup_epochs=40)"
    config.mask.train.update(defaults.PUBLISHED_SCORES)
    config.mask.choices = (10.0, 50.0, 250.0)
    globals()[mode](config)
    return config


def halves(config: ConfigDict) -> None:
    """One half of the classes first, then the other: sized to the machine."""
    if jax.default_backend() == "cpu":
        halves_cpu(config)
    else:
        halves_accelerator(config)


def halves_cpu(config: ConfigDict) -> None:
    """ResNet-20; a fifth of the second half's labels. Half an hour on two cores."""
    _halves(config, held_out=1000, epochs=(20, 10))
    config.network.name = "resnet20"
    config.data.share = 0.2


def halves_accelerator(config: ConfigDict) -> None:
    """ResNet-18 for 32 pixels; all labels of both halves."""
    _halves(config, held_out=2500, epochs=(100, 60), batch=128)
    config.network.name = "resnet18"
    config.network.stem = "cifar"
    config.network.compute_dtype = "bfloat16"


def _halves(config: ConfigDict, held_out: int, epochs: tuple[int, int], batch: int = 64) -> None:
    """Random weights learn classes 0 to 49 with all labels, then adapt to classes 50 to 99.

    Args:
      held_out: images of the second half held out.
      epochs: of the pretraining, and of each adaptation.
      batch: images per step.
    """
    before, after = epochs
    config.start = "pretrain"
    config.pretrain.data = config.data.copy_and_resolve_references()
    config.pretrain.data.name = ""  # where the task's own images are
    config.pretrain.data.classes = tuple(range(50))
    config.pretrain.data.validation = 2500
    config.pretrain.train.optimizer = "add_decayed_weights(5e-4), sgd(momentum=0.9)"
    config.pretrain.train.epochs = before
    config.pretrain.train.batch_size = batch
    config.data.classes = tuple(range(50, 100))
    config.data.validation = held_out
    config.full.choices = (0.01, 0.03, 0.1)
    config.mask.choices = (2.0, 10.0, 50.0)
    config.mask.train.schedule = "cosine"
    for method in ("full", "mask"):
        config[method].train.epochs = after
        config[method].train.batch_size = batch


def resnet18(config: ConfigDict) -> None:
    """ImageNet weights at --config.start=PATH, images enlarged to their 224 pixels."""
    config.start = ""
    config.network.name = "resnet18"
    config.network.stem = "imagenet"
    config.network.compute_dtype = "bfloat16"
    config.data.size = 224
    config.data.mean, config.data.std = IMAGENET


def resnet20(config: ConfigDict) -> None:
    """CIFAR-10 weights at --config.start=PATH; a fifth of the labels, 5 epochs, all methods."""
    config.start = ""
    config.network.name = "resnet20"
    config.data.mean, config.data.std = IMAGENET
    config.data.share = 0.2
    config.data.validation = 2000
    config.methods = ("knn", "linear_probe", *RATES)
    config.knn.choices = (10, 50, 200)
    for method, rates in RATES.items():
        config[method].choices = rates
        config[method].train.epochs = 5
        config[method].train.schedule = "cosine"
    config.mask_topk.density = 0.0
    apart = (("mask", "mask_topk"), ("full",), ("lora",), ("norm",), ("bias",),
             ("knn", "linear_probe"))  # fmt: skip
    config.grid = ((("methods", apart),),)
    config.together = 1


def resnet20_seeds(config: ConfigDict) -> None:
    """The same on two new seeds, with the rates that seed 0 chose."""
    resnet20(config)
    config.full.choices, config.mask.choices = (0.1,), (10.0,)
    config.grid = ((("methods", (("full",), ("mask",))), ("seed", (1, 2))),)


def resnet20_rates(config: ConfigDict) -> None:
    """How sensitive masks are to their learning rate: six rates, on validation data."""
    resnet20(config)
    config.methods = ("mask",)
    config.mask.choices = (2.0, 5.0, 10.0, 20.0, 50.0, 200.0)
    config.grid = ((("seed", (0,)),),)


def resnet20_labels(config: ConfigDict) -> None:
    """Fractions of labels, as one grid; the fewer labels, the more epochs."""
    resnet20(config)
    config.data.validation = 0.2
    config.methods = ("linear_probe", "full", "mask")
    shares = ((1.0, 5), (0.1, 50), (0.04, 100), (0.02, 150), (0.01, 200), (0.005, 200),
              (0.0025, 200))  # fmt: skip
    points = tuple((share, epochs, epochs) for share, epochs in shares)
    config.grid = ((("data.share,full.train.epochs,mask.train.epochs", points),),)


def resnet20_long(config: ConfigDict) -> None:
    """All labels, 150 epochs, crops and flips: the published settings on CIFAR-10 weights."""
    resnet20(config)
    config.data.share, config.data.validation = 1.0, 5000
    for method in RATES:
        config[method].train.epochs = 150
        if method.startswith("mask"):
            config[method].train.schedule = "cosine(warmup_epochs=40)"


def resnet56(config: ConfigDict) -> None:
    """The same with the deeper network."""
    resnet20(config)
    config.network.name = "resnet56"


def scratch(config: ConfigDict) -> None:
    """Random weights: masking against training."""
    config.start = "random"
    config.methods = ("full", "mask")
    config.network.name = "resnet18"
    config.network.stem = "cifar"
    config.network.compute_dtype = "bfloat16"


def smoke(config: ConfigDict) -> None:
    """A minute on a laptop: ten classes first, then ten others, untuned."""
    config.start = "pretrain"
    config.network.name = "resnet20"
    config.network.width = 0.5
    config.data.classes = tuple(range(10, 20))
    config.data.share = 0.4
    config.data.validation = 0.2
    config.pretrain.data = config.data.copy_and_resolve_references()
    config.pretrain.data.name = ""
    config.pretrain.data.classes = tuple(range(10))
    config.pretrain.train.epochs = 10
    config.linear_probe.choices = (1e-2,)
    config.full.choices = (0.01,)
    config.full.train.epochs = 6
    config.mask.choices = (50.0,)
    config.mask.train.epochs = 6
    config.mask.train.schedule = "cosine(warmup_epochs=1)"
