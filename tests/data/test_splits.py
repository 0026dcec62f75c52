"""Which of a dataset's splits become ours, and the fifth to test on if there is no test split."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxmask.data.splits import Sources, choose, in_fifth
from jaxmask.data.subset import random_keys


@pytest.mark.parametrize(
    ("available", "train", "test", "everything"),
    [
        (("train", "test"), Sources(("train",)), Sources(("test",)), ("train", "test")),
        (("test", "train", "validation"), Sources(("train", "validation")), Sources(("test",)),
         ("train", "validation", "test")),
        (("train", "validation", "extra"), Sources(("train",)), Sources(("validation",)),
         ("train", "validation")),
        (("train",), Sources(("train",), False), Sources(("train",), True), ("train",)),
        (("test",), Sources(("train",)), Sources(("test",)), ("test",)),
    ],
)  # fmt: skip
def test_what_is_trained_and_tested_on(available, train, test, everything):
    assert choose(available, "train") == train
    assert choose(available, "test") == test
    assert choose(available, "all") == Sources(everything)
    assert choose(available, "extra") == Sources(("extra",))


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=80).map(np.array), st.integers(0, 99))
def test_the_fifth_is_stratified_and_leaves_every_class_one(labels, seed):
    fifth = in_fifth(labels, random_keys(len(labels), seed, 3))
    counts = np.bincount(labels)
    assert fifth.sum() == min(round(len(labels) / 5), (counts[counts > 0] - 1).sum())
    for label in np.unique(labels):
        assert not fifth[labels == label].all()
        if (counts[counts > 0] > 1).all():
            assert abs(fifth[labels == label].sum() - counts[label] / 5) < 1.2


def test_the_smallest_keys_of_each_class_are_taken():
    labels, keys = np.repeat([0, 1], 10), np.arange(20, dtype=np.uint64)[::-1].copy()
    np.testing.assert_array_equal(np.flatnonzero(in_fifth(labels, keys)), [8, 9, 18, 19])


def test_a_class_of_one_example_is_trained_on():
    labels = np.array([0, 1, 2, 3, 4, 4, 4, 4, 4, 4])
    np.testing.assert_array_equal(labels[in_fifth(labels, random_keys(10, 0, 3))], [4, 4])
