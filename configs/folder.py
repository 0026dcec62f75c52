"""Adapt a PyTorch checkpoint to your own images, and compare methods.

    jaxmask run --config=folder --config.data.name=folder:PATH \\
        --config.network.name=resnet18 --config.start=CHECKPOINT

PATH has one folder per class, with or without `train` and `test` above them. CHECKPOINT is a
safetensors or PyTorch file, `hub:owner/name` or `package:name`; the network is one of
`jaxmask.model.names()`. Images are cut to 224 pixels. Eight epochs and three choices for each
method; to train longer, set `--config.mask.train.epochs` and the like.
"""

from ml_collections import ConfigDict

from jaxmask.recipe import defaults


def get_config(mode: str = "") -> ConfigDict:
    """The experiment; it has one mode."""
    if mode:
        raise ValueError(f"folder has no mode {mode!r}")
    config = defaults.adapt("folder:", epochs=8)
    config.start = ""
    config.network.name = "resnet18"
    config.data.decode_size = 224
    config.data.validation = 0.2
    config.data.flip = True
    config.methods = ("knn", "linear_probe", "full", "mask")
    config.knn.choices = (10, 50, 200)
    config.linear_probe.choices = (1e-4, 1e-3, 1e-2)
    config.full.choices = (0.001, 0.01, 0.03)
    config.mask.choices = (0.01, 0.02, 0.05)
    for method in ("full", "partial", "bias", "norm", "lora", "mask", "mask_topk", "mask_sign"):
        config[method].train.batch_size = 32
        config[method].train.schedule = "cosine(warmup_epochs=1)"
    return config
