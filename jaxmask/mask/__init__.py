"""Scores -> masks -> masked weights, as pure functions of any pytree.

Leaves of one tree may differ in dtype. What is made like a weight is laid out over devices as it.
"""

import importlib
from typing import Any

from jaxmask.mask import measure
from jaxmask.mask.allocate import allocate
from jaxmask.mask.axes import describe
from jaxmask.mask.initialize import (
    constant,
    kaiming_uniform,
    magnitude,
    normal,
    relative_magnitude,
    shuffled,
)
from jaxmask.mask.levels import from_planes, levels, planes
from jaxmask.mask.moments import clear_moments
from jaxmask.mask.n_of_m import keep_n_of_m
from jaxmask.mask.pruned import pruned
from jaxmask.mask.restore import restore
from jaxmask.mask.select import keep_count, keep_top
from jaxmask.mask.share import largest_share, random_share, selective
from jaxmask.mask.slope import clipped, sigmoid
from jaxmask.mask.straight_through import straight_through
from jaxmask.mask.structured import keep_blocks, keep_channels
from jaxmask.mask.transform import (
    MaskTransform,
    masked,
    rescaled,
    sign,
    threshold,
    top_k,
    unscaled,
)

__all__ = [
    "MaskTransform",
    "allocate",
    "clear_moments",
    "clipped",
    "constant",
    "describe",
    "file",
    "from_planes",
    "kaiming_uniform",
    "keep_blocks",
    "keep_channels",
    "keep_count",
    "keep_n_of_m",
    "keep_top",
    "largest_share",
    "levels",
    "magnitude",
    "masked",
    "measure",
    "normal",
    "planes",
    "pruned",
    "random_share",
    "relative_magnitude",
    "rescaled",
    "restore",
    "selective",
    "shuffled",
    "sigmoid",
    "sign",
    "straight_through",
    "threshold",
    "top_k",
    "unscaled",
]

# the names allowed in configs
TRANSFORMS = {each.__name__: each for each in (threshold, top_k, sign, levels)}
INITIALIZERS = {
    each.__name__: each
    for each in (constant, normal, magnitude, relative_magnitude, kaiming_uniform, shuffled)
}
SLOPES = {each.__name__: each for each in (clipped, sigmoid)}


def __getattr__(name: str) -> Any:
    if name == "file":  # the public name of `jaxmask.maskfile`, which is above this package
        return importlib.import_module("jaxmask.maskfile")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
