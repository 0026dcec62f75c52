"""Cache entries: complete or absent."""

import errno
import json
import os
import resource
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from jaxmask.data import cache

IMAGES = np.random.default_rng(0).integers(0, 256, (10, 6, 5, 3), np.uint8)
LABELS = np.arange(10, dtype=np.int32)
NAMES = ("cat", "dog")


def chunks(images=IMAGES, labels=LABELS):
    for start in range(0, len(labels), 4):
        yield images[start : start + 4], labels[start : start + 4]


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "data" / "set-1.0.0-train-f00-aaaa"


def build(folder, parts=None, fingerprint="print"):
    return cache.build(folder, fingerprint, NAMES, 10, chunks() if parts is None else parts)


def check(entry):
    np.testing.assert_array_equal(entry.images, IMAGES)
    np.testing.assert_array_equal(entry.labels, LABELS)
    assert entry.classes == NAMES
    assert (entry.images.dtype, entry.labels.dtype) == (np.uint8, np.int32)


def test_what_was_built_is_mapped_by_every_later_read(folder):
    check(build(folder))
    entry = cache.read(folder, "print")
    check(entry)
    assert isinstance(entry.images, np.memmap)
    assert not entry.images.flags.writeable
    assert os.listdir(folder.parent) == [folder.name]


def test_nothing_is_there_before_a_build(folder):
    assert cache.read(folder, "print") is None


def test_another_fingerprint_is_another_dataset(folder):
    build(folder)
    assert cache.read(folder, "other") is None
    build(folder, chunks(255 - IMAGES), "other")  # replaces it
    assert cache.read(folder, "print") is None
    np.testing.assert_array_equal(cache.read(folder, "other").images, 255 - IMAGES)


def test_older_states_of_the_same_dataset_go_and_others_stay(folder):
    older = folder.with_name("set-1.0.0-train-f00-0000")
    others = [
        folder.with_name(name) for name in ("set-1.0.0-train-f11-0000", "set-1.0.0-train-f00")
    ]
    for path in (older, *others):
        build(path)
    build(folder)
    assert not older.exists()
    assert all(path.exists() for path in others)


def cut(path, size):
    os.truncate(path, size)


def edit(path, **changes):
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps(manifest | changes))


DAMAGE = {
    "no manifest": lambda f: (f / "manifest.json").unlink(),
    "empty manifest": lambda f: cut(f / "manifest.json", 0),
    "cut manifest": lambda f: cut(f / "manifest.json", 100),
    "manifest of another kind": lambda f: (f / "manifest.json").write_text("[1]"),
    "binary manifest": lambda f: (f / "manifest.json").write_bytes(b"\xff\xfe\x00"),
    "edited classes": lambda f: edit(f / "manifest.json", classes=["dog", "cat"]),
    "edited fingerprint": lambda f: edit(f / "manifest.json", fingerprint="other"),
    "no images": lambda f: (f / "images.npy").unlink(),
    "empty images": lambda f: cut(f / "images.npy", 0),
    "cut images": lambda f: cut(f / "images.npy", 500),
    "one byte short": lambda f: cut(f / "images.npy", (f / "images.npy").stat().st_size - 1),
    "one byte long": lambda f: cut(f / "images.npy", (f / "images.npy").stat().st_size + 1),
    "other shape": lambda f: np.save(f / "images.npy", IMAGES.reshape(10, 5, 6, 3)),
    "other dtype": lambda f: np.save(f / "images.npy", IMAGES.astype(np.int8)),
    "fewer images": lambda f: np.save(f / "images.npy", IMAGES[:9]),
    "labels of another type": lambda f: np.save(f / "labels.npy", LABELS.astype(np.float32)),
    "cut labels": lambda f: cut(f / "labels.npy", 130),
    "pickled labels": lambda f: np.save(f / "labels.npy", np.array([{}] * 10), allow_pickle=True),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_damage_is_detected_and_repaired(folder, damage):
    build(folder)
    damage(folder)
    assert cache.read(folder, "print") is None
    check(build(folder))
    check(cache.read(folder, "print"))
    assert os.listdir(folder.parent) == [folder.name]


def test_a_file_in_the_way_is_replaced(folder):
    folder.parent.mkdir()
    folder.write_text("not a folder")
    check(build(folder))
    assert os.listdir(folder.parent) == [folder.name]


def test_nothing_shows_until_all_is_written_and_the_manifest_comes_last(folder):
    def watched():
        for part in chunks():
            yield part
            assert not folder.exists()
            (building,) = folder.parent.iterdir()
            assert sorted(os.listdir(building)) == ["images.npy", "labels.npy"]

    check(build(folder, watched()))


def broken(error):
    yield IMAGES[:4], LABELS[:4]
    raise error


@pytest.mark.parametrize("error", [ValueError("damaged"), KeyboardInterrupt()])
def test_a_build_that_fails_leaves_nothing(folder, error):
    with pytest.raises(type(error)):
        build(folder, broken(error))
    assert os.listdir(folder.parent) == []


def test_a_build_that_fails_leaves_what_was_there(folder):
    build(folder)
    with pytest.raises(ValueError, match="damaged"):
        build(folder, broken(ValueError("damaged")), "other")
    check(cache.read(folder, "print"))
    assert os.listdir(folder.parent) == [folder.name]


def test_too_few_examples_are_an_error(folder):
    with pytest.raises(ValueError, match="got 4 examples, expected 10"):
        build(folder, [(IMAGES[:4], LABELS[:4])])
    assert os.listdir(folder.parent) == []


def test_a_disk_that_is_full_while_writing(folder):
    """A file size limit stands in for a full disk: write() fails."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    big = np.zeros([10, 500, 500, 1], np.uint8)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            build(folder, chunks(big))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert os.listdir(folder.parent) == []


def test_a_disk_that_is_full_when_flushing(folder, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        build(folder)
    assert os.listdir(folder.parent) == []


KILLED = """
import os, sys, pathlib, numpy as np
from jaxmask.data import cache
def parts():
    yield np.zeros([4, 6, 5, 3], np.uint8), np.zeros(4, np.int32)
    os._exit(9)
def exit_instead(*args):
    os._exit(9)
if sys.argv[2] == "before the rename":
    os.rename = exit_instead
    parts = lambda: [(np.zeros([10, 6, 5, 3], np.uint8), np.zeros(10, np.int32))]
cache.build(pathlib.Path(sys.argv[1]), "print", ["a"], 10, parts())
"""


@pytest.mark.parametrize("moment", ["between chunks", "before the rename"])
def test_a_killed_build_is_never_used_and_swept_later(folder, moment):
    done = subprocess.run([sys.executable, "-c", KILLED, str(folder), moment])
    assert done.returncode == 9
    (leftover,) = folder.parent.iterdir()
    assert cache.read(folder, "print") is None
    check(build(folder))
    assert leftover.exists()  # it might be another process at work
    old = time.time() - 2 * cache.ABANDONED_SECONDS
    os.utime(leftover, (old, old))
    build(folder.with_name("other-1.0.0-train-f00-aaaa"))
    assert not leftover.exists()


def test_the_second_builder_takes_the_existing_entry(folder):
    def overtaken():
        yield from chunks()
        build(folder)
        overtaken.first = (folder / "images.npy").stat().st_ino

    check(build(folder, overtaken()))
    assert (folder / "images.npy").stat().st_ino == overtaken.first
    assert os.listdir(folder.parent) == [folder.name]


def test_a_damaged_entry_that_another_process_moves_away_meanwhile(folder, monkeypatch):
    build(folder)
    cut(folder / "images.npy", 500)
    rename, stolen = os.rename, []

    def rename_too_late(source, target):
        if source == folder and not stolen:
            stolen.append(rename(folder, folder.parent / "elsewhere"))
        rename(source, target)

    monkeypatch.setattr(os, "rename", rename_too_late)
    check(build(folder))
    assert stolen


@pytest.mark.parametrize("damaged_before", [False, True])
def test_many_building_at_once_all_get_it(folder, damaged_before):
    if damaged_before:
        build(folder)
        cut(folder / "images.npy", 500)
    workers = 4
    together, results = threading.Barrier(workers), []

    def work():
        def parts():
            yield from chunks()
            together.wait(20)  # all rename at the same moment

        results.append(build(folder, parts()))

    for _ in range(5):
        threads = [threading.Thread(target=work) for _ in range(workers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(results) == 5 * workers
    for entry in results:
        check(entry)
    assert os.listdir(folder.parent) == [folder.name]


def test_an_entry_without_images(folder):
    """It records that all of them could be decoded, and their labels."""
    parts = [(None, LABELS[:4]), (None, LABELS[4:])]
    for entry in (build(folder, parts), cache.read(folder, "print")):
        assert entry.images is None
        np.testing.assert_array_equal(entry.labels, LABELS)
        assert entry.classes == NAMES
    assert sorted(os.listdir(folder)) == ["labels.npy", "manifest.json"]
    (folder / "labels.npy").write_bytes(b"")
    assert cache.read(folder, "print") is None
