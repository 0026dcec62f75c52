"""Decoded splits on disk: written once, atomically, and memory-mapped from then on.

An entry is a folder of `images.npy`, `labels.npy` and `manifest.json`. The manifest records what
the entry was made from (its fingerprint) and describes the arrays; it is written last, and then the
folder is renamed into place. Readers ignore an entry that differs from its manifest in any way, and
the next build replaces it. An entry may lack the images: it then records their labels, and that all
of them can be decoded.
"""

import errno
import hashlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxmask import files

MANIFEST = "manifest.json"
ARRAYS = ("images", "labels")
BUILDING = ".building-"
ABANDONED_SECONDS = 24 * 3600  # an unfinished build this old was killed


class Entry(NamedTuple):
    """A decoded split: uint8 [N, H, W, C] (memory-mapped) or None, int32 [N], class names."""

    images: np.ndarray | None
    labels: np.ndarray
    classes: tuple[str, ...]


def read(folder: Path, fingerprint: str) -> Entry | None:
    """The entry in `folder`, or None if there is no intact one with this fingerprint."""
    try:
        manifest = files.read_json(folder / MANIFEST, "it is made again")
        digest = manifest.pop("digest")
        if digest != _digest(manifest) or manifest["fingerprint"] != fingerprint:
            return None
        arrays = {name: _map(folder, name, made) for name, made in manifest["arrays"].items()}
        classes = tuple(manifest["classes"])
        return Entry(arrays.get("images"), np.array(arrays["labels"]), classes)
    except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError):
        return None  # unreadable, incomplete or altered: build it again


def build(
    folder: Path,
    fingerprint: str,
    classes: Iterable[str],
    count: int,
    chunks: Iterable[tuple[np.ndarray | None, np.ndarray]],
) -> Entry:
    """Write an entry and return it, memory-mapped.

    Args:
      folder: where the entry goes; `PREFIX-FINGERPRINT`; other entries with this prefix are
        older states of the same dataset and are removed.
      fingerprint: of everything that the arrays are made from.
      classes: the names of the classes.
      count: the number of examples, N.
      chunks: (uint8 [n, H, W, C], int32 [n]) in order, N examples in all; None in place of the
        images, in all chunks, leaves them out.

    Raises:
      OSError: it cannot be written (a full disk); nothing is left behind. Errors from `chunks`
        pass through likewise.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    _sweep(folder.parent)
    temporary = folder.parent / f"{BUILDING}{uuid.uuid4().hex}"
    try:
        temporary.mkdir()
        _write(temporary, fingerprint, list(classes), count, chunks)
        _install(temporary, folder, fingerprint)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)  # already gone on success
    entry = read(folder, fingerprint)
    for _ in range(20):
        if entry is not None:
            break
        time.sleep(0.05)  # another process is replacing this one with its own
        entry = read(folder, fingerprint)
    if entry is None:
        raise OSError(f"{folder}: the cache was damaged while it was being written")
    prefix = folder.name.rsplit("-", 1)[0]
    for other in folder.parent.glob(f"{prefix}-*"):
        if other != folder and other.name.rsplit("-", 1)[0] == prefix:
            shutil.rmtree(other, ignore_errors=True)
    return entry


def _write(folder, fingerprint, classes, count, chunks):
    """The arrays chunk by chunk, then the manifest.

    With ordinary writes, not a memory map: on a full disk a write raises OSError, while a store
    to mapped memory kills the process (SIGBUS).
    """
    paths = {name: folder / f"{name}.npy" for name in ARRAYS}
    shapes: dict[str, tuple[int, ...]] = {}
    written = 0
    with open(paths["images"], "wb") as images, open(paths["labels"], "wb") as labels:
        for image_chunk, label_chunk in chunks:
            if not shapes:
                shapes["labels"] = (count,)
                _header(labels, np.int32, shapes["labels"])
                if image_chunk is not None:
                    shapes["images"] = (count, *image_chunk.shape[1:])
                    _header(images, np.uint8, shapes["images"])
            if image_chunk is not None:
                images.write(np.ascontiguousarray(image_chunk, np.uint8).data)
            labels.write(np.ascontiguousarray(label_chunk, np.int32).data)
            written += len(label_chunk)
        for file in (images, labels):  # the data must be on disk before the rename
            file.flush()
            os.fsync(file.fileno())
    if written != count or not shapes:
        raise ValueError(f"got {written} examples, expected {count}")
    if "images" not in shapes:
        paths["images"].unlink()
    manifest = {
        "fingerprint": fingerprint,
        "classes": classes,
        "arrays": {
            name: _description(paths[name], dtype, shapes[name])
            for name, dtype in zip(ARRAYS, (np.uint8, np.int32))
            if name in shapes
        },
    }
    manifest["digest"] = _digest(manifest)
    files.write_json(folder / MANIFEST, manifest)


def _install(temporary: Path, folder: Path, fingerprint: str) -> None:
    """Rename into place, even if other processes are building the same entry."""
    while True:
        try:
            os.rename(temporary, folder)
            return
        except OSError as error:
            # Do not test whether the folder exists: another process may have moved it since.
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                raise
        if read(folder, fingerprint) is not None:
            return  # another process was first, with the same content
        damaged = folder.parent / f"{BUILDING}{uuid.uuid4().hex}"
        try:
            os.rename(folder, damaged)
        except FileNotFoundError:
            continue  # another process moved it away
        if damaged.is_dir():
            shutil.rmtree(damaged, ignore_errors=True)
        else:
            damaged.unlink(missing_ok=True)


def _sweep(parent: Path) -> None:
    """Remove the leftovers of killed builds."""
    for leftover in parent.glob(f"{BUILDING}*"):
        try:
            if time.time() - leftover.stat().st_mtime > ABANDONED_SECONDS:
                shutil.rmtree(leftover, ignore_errors=True)
        except FileNotFoundError:
            pass  # its owner finished


def _map(folder: Path, name: str, described: dict) -> np.ndarray:
    path = folder / f"{name}.npy"
    array = np.load(path, mmap_mode="r", allow_pickle=False)
    if _description(path, array.dtype, array.shape) != described:
        raise ValueError(f"{path} differs from its manifest")
    return array


def _description(path: Path, dtype, shape) -> dict:
    return {"dtype": np.dtype(dtype).str, "shape": list(shape), "bytes": path.stat().st_size}


def _header(file, dtype, shape) -> None:
    header = {"descr": np.dtype(dtype).str, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)


def _digest(manifest: dict) -> str:
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()
