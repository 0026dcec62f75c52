"""Several mask files: where they are, short names for them, and the overlap of their masks."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxmask.errors import InputError

# in a folder of mask files, in a method's run directory, in that of `adapt`
PLACES = ("*.mask", "masks/*.mask", "*/masks/*.mask")


def find(given: Sequence[Path]) -> list[Path]:
    """The mask files that are, or are inside, the given paths.

    Raises:
      InputError: a folder holds none.
    """
    found = []
    for path in given:
        inside = (sorted(path.glob(place)) for place in PLACES) if path.is_dir() else iter([[path]])
        files = next(filter(None, inside), [])
        if not files:
            raise InputError(f"there is no mask file in {path}; give one, or a folder of them")
        found += files
    return found


def labels(paths: Sequence[Path]) -> list[str]:
    """Short names for files: their paths without common leading and trailing parts.

    Example:
      >>> labels([Path("runs/a/masks/task.mask"), Path("runs/b/masks/task.mask")])
      ['a', 'b']
    """
    whole = [Path(os.path.abspath(path)).with_suffix("") for path in paths]
    above = os.path.commonpath([path.parent for path in whole])
    parts = [path.relative_to(above).parts for path in whole]
    while min(map(len, parts)) > 1 and len({each[-1] for each in parts}) == 1:
        parts = [each[:-1] for each in parts]
    return ["/".join(each) for each in parts]


class Counts(NamedTuple):
    """Numbers of weights for every pair of masks, arrays [masks, masks].

    Attributes:
      both: on in both.
      either: on in at least one.
      both_by_chance: expected on in both if the masks were independent.
      either_by_chance: expected on in at least one.
      equal: with equal bits.
      all: all weights.
    """

    both: np.ndarray
    either: np.ndarray
    both_by_chance: np.ndarray
    either_by_chance: np.ndarray
    equal: np.ndarray
    all: np.ndarray

    def shares(self) -> list[np.ndarray]:
        """Jaccard index, that of independent masks, and fraction of equal bits; 0 / 0 is 1."""
        pairs = zip(self[::2], self[1::2])
        return [np.divide(x, y, out=np.ones(x.shape), where=y > 0) for x, y in pairs]


def counted(masks: Sequence[np.ndarray]) -> Counts:
    """The counts for every pair of masks of one leaf; positive values are on."""
    size = masks[0].size
    packed = [np.packbits(leaf > 0) for leaf in masks]
    both = np.array([[np.bitwise_count(a & b).sum(dtype=np.int64) for b in packed] for a in packed])
    each = np.diag(both)
    sums = each[:, None] + each
    chance = each[:, None] * each / max(size, 1)
    equal = size - sums + 2 * both
    return Counts(both, sums - both, chance, sums - chance, equal, np.full_like(both, size))
