"""Scikit-learn's digits: real handwriting that needs no download and no preparation."""

from functools import cache

import numpy as np

from jaxmask.data.subset import random_keys, stratified

CLASSES = tuple("0123456789")


@cache
def read() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The 1,797 digits as uint8 [N, 8, 8, 1] (0..16 scaled to 0..255) and int32 labels.

    The test split is a stratified quarter (449 digits), the same in every run.
    """
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = np.round(digits.images * (255 / 16)).astype(np.uint8)[..., None]
    labels = digits.target.astype(np.int32)
    test = stratified(labels, round(len(labels) / 4), random_keys(len(labels), 0, 2))
    splits = {"train": (images[~test], labels[~test]), "test": (images[test], labels[test])}
    for array in (array for split in splits.values() for array in split):
        array.flags.writeable = False  # they are shared
    return splits
