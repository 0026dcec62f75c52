"""A split's images from any source: cached, decoded once, or decoded on demand."""

import hashlib

import numpy as np
import pytest

from jaxmask.data import decoded
from jaxmask.data.decoded import Described, Source, Unreadable
from jaxmask.data.lazy import Lazy
from jaxmask.errors import InputError

IMAGES = np.random.default_rng(0).integers(0, 256, (23, 3, 4, 2)).astype(np.uint8)
LABELS = np.arange(23, dtype=np.int32) % 5
BYTES = IMAGES.nbytes


class Made:
    """A described source of these images, and how often it was opened and what was decoded."""

    def __init__(self, unreadable=(), sizes=None, examples=23, content="a"):
        self.opened, self.calls = 0, []
        self.unreadable, self.sizes, self.examples = unreadable, sizes or {}, examples

        def fingerprint(*more):
            return hashlib.sha256(repr((content, *more)).encode()).hexdigest()

        self.described = Described(
            "the made ones", "made train", "made", fingerprint, None, self.open
        )

    def open(self):
        self.opened += 1
        return Source(tuple("abcde"), self.examples, self.decode)

    def decode(self, indices):
        self.calls.append(list(indices))
        bad = [(f"{index}.png", "torn") for index in indices if index in self.unreadable]
        if bad:
            raise Unreadable("the made ones", bad)
        side = self.sizes.get(int(indices[0]), 3)
        return IMAGES[indices][:, :side], LABELS[indices]


@pytest.fixture
def read(tmp_path, monkeypatch):
    monkeypatch.setattr(decoded, "CHUNK", 4)

    def read(made, cache_bytes=BYTES):
        return decoded.read(
            made.described, cache_dir=tmp_path, cache_bytes=cache_bytes, progress=False
        )

    return read


def check(found):
    np.testing.assert_array_equal(np.asarray(found.images), IMAGES)
    np.testing.assert_array_equal(found.labels, LABELS)
    assert found.classes == tuple("abcde")


def test_chunks_over_many_threads_keep_the_order_and_are_decoded_once(read):
    made = Made()
    check(read(made))
    seen = sorted(index for call in made.calls for index in call)
    assert seen == sorted([0, *range(23)])  # the first one for its shape
    again = Made()
    found = read(again)
    check(found)
    assert isinstance(found.images, np.memmap)
    assert (again.opened, again.calls) == (0, [])


def test_another_fingerprint_is_decoded_anew(read):
    read(Made())
    other = Made(content="b")
    check(read(other))
    assert other.opened == 1


def test_over_the_budget_every_image_is_tried_and_only_labels_are_kept(read):
    made = Made()
    found = read(made, BYTES - 1)
    assert isinstance(found.images, Lazy)
    assert {index for call in made.calls for index in call} == set(range(23))
    check(found)
    again = Made()
    found = read(again, BYTES - 1)
    assert again.calls == [[0]]  # its shape alone: the labels are in the cache
    check(found)
    check(read(Made(), BYTES))  # and with a larger budget they are decoded into the cache


def test_all_that_cannot_be_read_is_told_and_three_are_named(read, tmp_path):
    bad = (1, 5, 6, 17, 22)
    for unreadable in (bad, (0, *bad)):  # also where the first one is among them
        with pytest.raises(Unreadable, match=r"3 more|2 more") as error:
            read(Made(unreadable))
        assert [path for path, _ in error.value.files] == [f"{index}.png" for index in unreadable]
        assert str(error.value).count("(torn)") == 3
        assert f"{len(unreadable)} images cannot be read" in str(error.value)
        assert list(tmp_path.iterdir()) == []
    with pytest.raises(Unreadable, match=r"1 image cannot be read: 9\.png \(torn\); repair"):
        read(Made((9,)))


def test_sizes_that_differ_between_chunks_are_refused(read, tmp_path):
    with pytest.raises(InputError, match=r"\(3x4 and 2x4\); set size"):
        read(Made(sizes={8: 2}))
    assert list(tmp_path.iterdir()) == []


def test_an_image_that_changed_its_size_stops_what_is_decoded_on_demand(read):
    made = Made()
    found = read(made, BYTES - 1)
    made.sizes[7] = 2
    np.testing.assert_array_equal(found.images[3:7], IMAGES[3:7])
    with pytest.raises(InputError, match="3x4 and 2x4"):
        found.images[7:8]


def test_a_source_without_images_is_refused(read):
    with pytest.raises(InputError, match="the made ones has no images"):
        read(Made(examples=0))
