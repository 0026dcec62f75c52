"""Which of a dataset's own splits to train on and which to test on."""

from typing import NamedTuple

import numpy as np

from jaxmask.data.subset import stratified

TEST_SHARE = 5  # one example in 5, if a dataset has no test examples of its own
# what people call the three splits, in lower case
NAMES = {"train": ("train",), "validation": ("validation", "valid", "val"), "test": ("test",)}


class Sources(NamedTuple):
    """The dataset's own splits that, concatenated, make up one of ours.

    Attributes:
      names: of the dataset's own splits; the caller must refuse those that do not exist.
      fifth: None for all of their examples, True for the seeded fifth, False for the others.
    """

    names: tuple[str, ...]
    fifth: bool | None = None


def choose(available: tuple[str, ...], split: str) -> Sources:
    """What "train", "test" or "all" are, for a dataset with the splits `available`.

    The test split is `test`, else `validation`, else a fifth of `train`; the training split is the
    rest of the three. Any other split is itself.
    """
    known = tuple(name for name in ("train", "validation", "test") if name in available)
    if split == "all" and "all" not in available:
        return Sources(known or ("train",))
    if split not in ("train", "test"):
        return Sources((split,))
    own = [name for name in ("test", "validation") if name in available][:1]
    if split == "test":
        return Sources(tuple(own)) if own else Sources(("train",), True)
    names = ("train", *(name for name in known if name not in ("train", *own)))
    names = tuple(name for name in names if name != "test")
    return Sources(names, None if own else False)


def in_fifth(labels: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """bool [N]: the stratified fifth with the smallest keys; every class keeps one example.

    Args:
      labels: int [N].
      keys: uint64 [N], fixed for each example, whatever the seed of an experiment.
    """
    present, counts = np.unique(labels, return_counts=True)
    total = min(round(len(labels) / TEST_SHARE), int((counts - 1).sum())) if len(present) else 0
    return stratified(labels, total, keys, spare=1)
