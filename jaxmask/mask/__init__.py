"""Scores -> masks -> masked weights, as pure functions of any pytree."""

from jaxmask.mask import file, measure
from jaxmask.mask.allocate import allocate
from jaxmask.mask.initialize import constant, kaiming_uniform, magnitude, normal, shuffled
from jaxmask.mask.n_of_m import keep_n_of_m
from jaxmask.mask.pruned import pruned
from jaxmask.mask.restore import restore
from jaxmask.mask.select import keep_count, keep_top
from jaxmask.mask.share import largest_share, random_share, selective
from jaxmask.mask.straight_through import straight_through
from jaxmask.mask.structured import keep_blocks, keep_channels
from jaxmask.mask.transform import MaskTransform, masked, sign, threshold, top_k

__all__ = [
    "MaskTransform",
    "allocate",
    "constant",
    "file",
    "kaiming_uniform",
    "keep_blocks",
    "keep_channels",
    "keep_count",
    "keep_n_of_m",
    "keep_top",
    "largest_share",
    "magnitude",
    "masked",
    "measure",
    "normal",
    "pruned",
    "random_share",
    "restore",
    "selective",
    "shuffled",
    "sign",
    "straight_through",
    "threshold",
    "top_k",
]
