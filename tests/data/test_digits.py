"""Scikit-learn's digits: the same splits for ever."""

import hashlib

import numpy as np

from jaxmask import data
from jaxmask.data import digits


def test_digits_has_the_same_test_split_for_every_seed():
    one, other = (data.load("digits", seed=seed, validation=0.2) for seed in (0, 1))
    np.testing.assert_array_equal(one.test.images, other.test.images)
    np.testing.assert_array_equal(one.test.labels, other.test.labels)
    assert not np.array_equal(one.train.images, other.train.images)
    sizes = [len(split.labels) for split in one[1:4]]
    assert (sum(sizes), sizes[2]) == (1797, 449)


def test_digits_splits_are_disjoint_and_stratified():
    from sklearn.datasets import load_digits

    dataset = data.load("digits", validation=100, seed=5)
    assert len(dataset.validation.labels) == 100
    original = load_digits()
    # As a multiset, the three splits are the dataset: nothing twice, nothing lost.
    images = np.concatenate([split.images for split in dataset[1:4]])
    expected = np.round(original.images * 255 / 16).astype(np.uint8)[..., None]
    key = lambda array: sorted(image.tobytes() for image in array)  # noqa: E731
    assert key(images) == key(expected)
    counts = np.bincount(original.target)
    for split in dataset[1:4]:
        share = len(split.labels) / 1797
        assert abs(np.bincount(split.labels) - share * counts).max() < 2
    assert images.max() == 255
    assert images.min() == 0
    assert dataset.classes == tuple("0123456789")


def test_digits_test_split_never_changes():
    """A result on digits is comparable only while this holds."""
    labels = data.load("digits").test.labels
    assert hashlib.sha256(labels.astype("<i4").tobytes()).hexdigest()[:16] == "8ee7cd2bd96f3650"


def test_it_is_read_once_and_cannot_be_changed():
    splits = digits.read()
    assert digits.read() is splits
    assert not any(array.flags.writeable for split in splits.values() for array in split)
    assert {name: len(labels) for name, (_, labels) in splits.items()} == {
        "train": 1348, "test": 449
    }  # fmt: skip
