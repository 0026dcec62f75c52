"""Seeded, stratified choices of examples, from their labels alone."""

from collections.abc import Sequence
from numbers import Integral

import numpy as np

from jaxmask.errors import InputError


def stratified(labels, total: int, keys, *, floor: int = 0, spare: int = 0) -> np.ndarray:
    """Choose `total` examples with each class in proportion to its frequency.

    Class c with n_c of the N examples gets total * n_c / N of the places, rounded to whole
    examples by largest remainder (ties: the smaller label), so the places add up to `total`.
    Within a class the examples with the smallest keys are chosen.

    Args:
      labels: int [N].
      total: how many to choose.
      keys: uint64 [N], random numbers (see `random_keys`).
      floor: every class present gets at least this many (the sum may then exceed `total`).
      spare: every class keeps at least this many that are not chosen.

    Returns:
      bool [N], True for the chosen examples.

    Raises:
      InputError: `spare` leaves fewer than `total` to choose from.
    """
    labels = np.asarray(labels)
    classes, inverse, counts = np.unique(labels, return_inverse=True, return_counts=True)
    places = _allocate(total, counts, floor, np.maximum(counts - spare, 0))
    order = np.lexsort((keys, inverse))  # by class, then by key
    starts = np.cumsum(counts) - counts
    rank = np.empty(len(labels), np.int64)
    rank[order] = np.arange(len(labels)) - starts[inverse[order]]
    return rank < places[inverse] if len(classes) else np.zeros(0, bool)


def _allocate(total: int, counts: np.ndarray, floor: int, most: np.ndarray) -> np.ndarray:
    """Places per class by largest remainder, in integers, at least `floor` and at most `most`."""
    if total > most.sum():
        raise InputError(
            f"cannot take {total} examples out of {counts.sum()}: every class has to keep one, "
            f"which leaves {most.sum()}; ask for fewer"
        )
    places, remainder = np.divmod(total * counts.astype(np.int64), max(int(counts.sum()), 1))
    places = np.clip(places, np.minimum(floor, most), most)
    # Largest remainder first, in rounds: a full class passes its place on.
    by_remainder = np.argsort(-remainder, kind="stable")
    while (missing := total - int(places.sum())) > 0:
        takers = by_remainder[places[by_remainder] < most[by_remainder]][:missing]
        places[takers] += 1
    return places


def random_keys(count: int, seed: int, purpose: int) -> np.ndarray:
    """uint64 [count], a function of (seed, purpose) only.

    Raw bits of PCG64: NumPy promises that these stay the same in all versions, which it does not
    for `Generator.permutation`.
    """
    if not isinstance(seed, Integral) or seed < 0:
        raise InputError(f"seed must be an integer >= 0, not {seed!r}")
    return np.random.PCG64([int(seed), purpose]).random_raw(count)


def relabel(labels, classes: Sequence[int], known: int) -> tuple[np.ndarray, np.ndarray]:
    """Keep the given classes and number them 0, 1, ... in the given order.

    Args:
      labels: int [N] in [0, known).
      classes: the labels to keep; empty keeps all as they are.
      known: the number of existing classes.

    Returns:
      (indices int64 [M] of the kept examples in ascending order, their new labels int32 [M]).

    Raises:
      InputError: a class that does not exist, or one named twice.
    """
    labels = np.asarray(labels)
    if not len(classes):
        return np.arange(len(labels)), labels.astype(np.int32)
    for label in classes:
        whole = isinstance(label, Integral) and not isinstance(label, bool)
        if not whole or not 0 <= label < known:
            raise InputError(f"classes: {label!r} is not a class; they are 0 to {known - 1}")
    if len(set(classes)) < len(classes):
        raise InputError(f"classes: a class is named twice in {list(classes)}")
    new = np.full(known, -1, np.int32)
    new[list(classes)] = np.arange(len(classes))
    indices = np.flatnonzero(new[labels] >= 0)
    return indices, new[labels[indices]]


def split_training(labels, share: float, validation: float, seed: int, keys_of=None):
    """Choose a share of the training labels and split it into training and validation.

    Args:
      labels: int [N].
      share: in (0, 1]; round(share * N) examples, at least one of every class.
      validation: a fraction in [0, 1) of the chosen share, or an int count. Every class keeps at
        least one training example.
      seed: alone decides which examples are taken.
      keys_of: int [N], the examples' positions in the full dataset, so that a class is split
        the same way whichever other classes were chosen with it. Default: 0 to N - 1.

    Returns:
      (training, validation) indices, each int64 ascending.

    Raises:
      InputError: an impossible share or count.
    """
    labels = np.asarray(labels)
    if isinstance(share, bool) or not 0 < share <= 1:
        raise InputError(f"share must be in (0, 1], not {share!r}")
    is_count = isinstance(validation, Integral)
    if isinstance(validation, bool) or not (validation >= 0 and (is_count or validation < 1)):
        raise InputError(
            f"validation must be a fraction in [0, 1) or a count of examples, not {validation!r}"
        )
    keys_of = np.arange(len(labels)) if keys_of is None else keys_of
    count = int(keys_of[-1]) + 1 if len(keys_of) else 0

    used = np.arange(len(labels))
    if share < 1:
        keys = random_keys(count, seed, 0)[keys_of]
        used = np.flatnonzero(stratified(labels, round(share * len(labels)), keys, floor=1))
    total = int(validation) if is_count else round(validation * len(used))
    keys = random_keys(count, seed, 1)[keys_of[used]]
    held_out = stratified(labels[used], total, keys, spare=1)
    return used[~held_out], used[held_out]
