"""The Grain pipeline against plain indexing."""

import sys
import threading
import time

import numpy as np
import pytest

from jaxmask.data import Lazy, Split, stream
from jaxmask.errors import InputError


@pytest.fixture
def split(tmp_path):
    rng = np.random.default_rng(0)
    np.save(tmp_path / "images.npy", rng.integers(0, 256, (40, 5, 4, 3), np.uint8))
    images = np.load(tmp_path / "images.npy", mmap_mode="r")
    return Split(images, rng.integers(0, 10, 40).astype(np.int32))


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("lengths", [[7], [3, 3, 1], [1, 5, 1], [1] * 7])
def test_equals_indexing(split, lengths, threads):
    order = np.random.default_rng(1).integers(0, 40, (7, 6)).astype(np.int32)
    chunks = list(stream(split, order, lengths, threads))
    assert [len(images) for images, _ in chunks] == lengths
    assert [len(labels) for _, labels in chunks] == lengths
    images, labels = (np.concatenate(parts) for parts in zip(*chunks))
    np.testing.assert_array_equal(images, split.images[order])
    np.testing.assert_array_equal(labels, split.labels[order])
    assert (images.dtype, labels.dtype) == (np.uint8, np.int32)


def test_token_ids_keep_their_dtype():
    """As bytes, 300 would be 44."""
    ids = np.arange(290, 330, dtype=np.int32).reshape(10, 4)
    order = np.array([[3, 1], [9, 9]])
    found, _ = next(iter(stream(Split(ids, np.zeros(10, np.int32)), order, [2])))
    assert found.dtype == np.int32
    np.testing.assert_array_equal(found, ids[order])


def test_chunks_stay_as_they_were(split):
    """A reused buffer would change while a device still copies from it."""
    order = np.arange(40, dtype=np.int32).reshape(10, 4)
    chunks = stream(split, order, [5, 5])
    first = next(chunks)[0]
    before = first.copy()
    list(chunks)
    np.testing.assert_array_equal(first, before)


def test_reads_ahead_while_the_caller_computes(split, monkeypatch):
    readers, take = [], np.take

    def watched(array, *args, **kwargs):
        readers.append(threading.get_ident())
        return take(array, *args, **kwargs)

    monkeypatch.setattr(np, "take", watched)
    order = np.arange(40, dtype=np.int32).reshape(10, 4)
    chunks = stream(split, order, [5, 5])
    next(chunks)
    deadline = time.monotonic() + 10
    while len(readers) < 20 and time.monotonic() < deadline:  # images and labels of 10 steps
        time.sleep(0.01)
    assert len(readers) == 20
    assert threading.get_ident() not in readers


def test_an_abandoned_stream_leaves_no_thread(split):
    before = threading.active_count()
    chunks = stream(split, np.zeros([100, 2], np.int32), [2] * 50)
    next(chunks)
    chunks.close()
    del chunks
    deadline = time.monotonic() + 10
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() <= before


def test_nothing_to_do(split):
    assert list(stream(split, np.zeros([0, 4], np.int32), [])) == []


@pytest.mark.parametrize(
    ("order", "lengths"),
    [([[0, 1]], [2]), ([[0, 1]], [1, 0]), ([[0, 40]], [1]), ([[-1, 0]], [1]), ([0, 1], [2])],
)
def test_an_order_that_does_not_fit_is_refused_at_the_call(split, order, lengths):
    with pytest.raises(InputError, match="order"):
        stream(split, np.array(order, np.int32), lengths)


@pytest.mark.parametrize("threads", [0, 1, 3])
def test_lazy_images_are_made_in_several_threads(split, threads, monkeypatch):
    monkeypatch.setattr(sys.modules["jaxmask.data.stream"], "cores", lambda: 3)
    makers = set()

    def make(indices):
        makers.add(threading.get_ident())
        time.sleep(0.005)
        return np.asarray(split.images)[indices]

    lazy = Split(Lazy(make, (5, 4, 3), np.arange(40)), split.labels)
    order = np.random.default_rng(1).permutation(40).reshape(10, 4)
    images = np.concatenate([images for images, _ in stream(lazy, order, [3, 7], threads)])
    np.testing.assert_array_equal(images, split.images[order])
    assert (len(makers) > 1) == (threads != 1)
    assert threading.get_ident() not in makers
