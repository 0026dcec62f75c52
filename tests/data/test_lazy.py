"""Lazy images against the array that they stand for."""

import numpy as np
import pytest

from jaxmask.data import Lazy, lazy, statistics
from jaxmask.data import moments as moments_module

IMAGES = np.random.default_rng(0).integers(0, 256, (50, 3, 4, 2), np.uint8)


@pytest.fixture(params=[1, 7, 32])
def made(request, monkeypatch):
    """All 50, in a different order, read in pieces of several sizes."""
    monkeypatch.setattr(lazy, "PIECE", request.param)
    order = np.random.default_rng(1).permutation(50)
    calls = []

    def make(indices):
        calls.append(len(indices))
        assert indices.ndim == 1
        return IMAGES[indices]

    images = Lazy(make, (3, 4, 2), order)
    return images, IMAGES[order], calls


def test_it_looks_like_the_array(made):
    images, array, _ = made
    for name in ("shape", "dtype", "ndim", "size", "nbytes"):
        assert getattr(images, name) == getattr(array, name)
    assert len(images) == 50


@pytest.mark.parametrize(
    "index",
    [3, -1, np.int64(7), slice(2, 40), slice(None), slice(5, 5), slice(None, None, -7),
     [4, 4, 0], np.arange(6).reshape(2, 3), np.arange(50) % 3 == 0, []],
)  # fmt: skip
def test_indexing(made, index):
    images, array, _ = made
    np.testing.assert_array_equal(images[index], array[index])
    assert images[index].dtype == np.uint8


def test_taking_and_reading(made):
    images, array, calls = made
    taken = images.take(np.array([9, 2, 30]))
    assert not calls  # nothing was made yet
    np.testing.assert_array_equal(taken, array[[9, 2, 30]])
    np.testing.assert_array_equal(taken.take([2, 0])[:], array[[30, 9]])
    np.testing.assert_array_equal(images.read([1, 1, 2]), array[[1, 1, 2]])
    np.testing.assert_array_equal(list(taken), array[[9, 2, 30]])
    assert max(calls) <= 32


@pytest.mark.parametrize("index", [50, -51, [0, 50], (0, 1), (slice(None), 0)])
def test_indices_out_of_range(made, index):
    with pytest.raises(IndexError):
        made[0][index]


def test_statistics_of_a_sample(monkeypatch):
    images = Lazy(lambda indices: IMAGES[indices], (3, 4, 2), np.arange(50))
    assert statistics(images) == statistics(IMAGES)
    monkeypatch.setattr(moments_module, "SAMPLE", 10)
    evenly = [0, 5, 10, 16, 21, 27, 32, 38, 43, 49]
    assert statistics(images) == statistics(IMAGES[evenly])
