"""The images of a folder: one folder per class, optionally below `train` and `test`."""

import os
import re
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxmask.data import splits as own_splits
from jaxmask.data.decode import decode_file, extensions, reason
from jaxmask.data.decoded import FORMAT_VERSION, Described, Source, Unreadable, refuse_sizes
from jaxmask.errors import InputError


class Folder(NamedTuple):
    """A folder and the folders of its splits; without any, `train` is the folder itself."""

    path: Path
    parts: dict[str, Path]

    @property
    def splits(self) -> tuple[str, ...]:
        return tuple(self.parts)

    def __str__(self) -> str:
        return f"folder {str(self.path)!r}"


class Image(NamedTuple):
    """A file; `path` is relative to the folder of its split."""

    path: str
    label: int
    size: int
    modified: int


def find(name: str) -> Folder:
    """The folder and its splits: folders in it named `train`, `validation` (`valid`, `val`) and
    `test` that contain folders; if there are none, it is a single split.

    Raises:
      InputError: there is no such folder, it has no folders, or two for one split.
    """
    path = Path(name).expanduser().absolute()
    if not name or not path.is_dir():
        raise InputError(f"dataset 'folder:{name}': there is no folder {path}")
    below = {entry.name.lower(): path / entry.name for entry in _entries(path) if _is_dir(entry)}
    parts = {}
    for split, names in own_splits.NAMES.items():
        found = [below[n] for n in names if n in below and any(map(_is_dir, _entries(below[n])))]
        if len(found) > 1:
            raise InputError(
                f"folder {str(path)!r} has {found[0].name!r} and {found[1].name!r}; keep one"
            )
        if found:
            parts[split] = found[0]
    if not below:
        raise InputError(
            f"folder {str(path)!r} has no folders in it; put the images of each class into a "
            "folder of its own"
        )
    return Folder(path, parts or {"train": path})


def describe(found: Folder, splits: Sequence[str], size: int) -> Described:
    """Some of its splits, concatenated.

    Raises:
      InputError: the folder lacks one of them, has fewer than two classes or a class without
        images, or its splits have different classes.
    """
    for split in splits:
        if split not in found.parts:
            raise InputError(
                f"{found} has no split {split!r}, only {', '.join(map(repr, found.parts))}"
            )
    known = extensions()
    _check_classes(found)
    listed = [_images(found, found.parts[split], known) for split in splits]
    paths = [(found.parts[s] / image.path, image.label) for s, (_, images) in zip(splits, listed)
             for image in images]  # fmt: skip
    state = sha256(repr((FORMAT_VERSION, size, listed)).encode())
    name = re.sub(r"[^\w.]+", "_", found.path.name) or "root"
    place = sha256(str(found.path.resolve()).encode()).hexdigest()[:8]
    together = "+".join(splits)

    def fingerprint(*more: str) -> str:
        return sha256(repr((state.hexdigest(), *more)).encode()).hexdigest()

    def keys(_: int) -> np.ndarray:
        """Hashes of each image's own path, so adding or removing others changes nothing."""
        digests = [sha256(path.relative_to(found.path).as_posix().encode()) for path, _ in paths]
        return np.array([int.from_bytes(digest.digest()[:8]) for digest in digests], np.uint64)

    return Described(
        title=str(found),
        short=f"{found.path.name} {together}",
        entry="-".join(["folder", name, together, *([str(size)] if size else []), place]),
        fingerprint=fingerprint,
        keys=keys,
        open=lambda: _open(found, paths, listed[0][0], size),
    )


def _open(found: Folder, paths: list[tuple[Path, int]], classes: list[str], size: int) -> Source:
    def decoded(indices: Any) -> tuple[np.ndarray, np.ndarray]:
        images, unreadable = [], []
        for index in indices:
            path = paths[index][0]
            try:
                images.append(decode_file(path, size))
            except Exception as error:  # a decoder may raise anything for a damaged file
                unreadable.append((str(path), reason(error)))
        if unreadable:
            raise Unreadable(str(found), unreadable)
        for image in images:
            refuse_sizes(str(found), images[0].shape, image.shape)
        return np.stack(images), np.array([paths[index][1] for index in indices], np.int32)

    return Source(tuple(classes), len(paths), decoded)


def _images(found: Folder, folder: Path, known: frozenset[str]) -> tuple[list[str], list[Image]]:
    """(class names, images by class and path) of one split."""
    classes = _classes(folder)
    images: list[Image] = []
    empty: list[str] = []
    for label, name in enumerate(classes):
        before = len(images)
        for path, size, modified in _files(folder / name, name, known, ()):
            images.append(Image(path, label, size, modified))
        if len(images) == before:
            empty.append(str(folder / name))
    if empty:
        more = f" and {len(empty) - 3} more" if len(empty) > 3 else ""
        raise InputError(
            f"{found}: no images in {', '.join(empty[:3])}{more}; fill or remove such folders"
        )
    return classes, images


def _files(
    folder: Path, name: str, known: frozenset[str], above: tuple[str, ...]
) -> Iterator[tuple[str, int, int]]:
    """(path, size, time) of every image below a folder, sorted by path. Links are followed, but
    not in loops."""
    real = os.path.realpath(folder)
    if real in above:
        return
    for entry in _entries(folder):
        path = f"{name}/{entry.name}"
        if _is_dir(entry):
            yield from _files(folder / entry.name, path, known, (*above, real))
        elif os.path.splitext(entry.name)[1].lower() in known:
            try:
                status = entry.stat()
                yield path, status.st_size, status.st_mtime_ns
            except OSError:  # a broken link; reading it will raise
                yield path, -1, -1


def _entries(folder: Path) -> list[os.DirEntry]:
    """The entries of a folder that are not hidden, sorted by name."""
    try:
        with os.scandir(folder) as entries:
            found = [entry for entry in entries if not entry.name.startswith(".")]
    except OSError as error:
        raise InputError(f"{folder} cannot be read: {error.strerror or error}") from None
    return sorted(found, key=lambda entry: entry.name)


def _is_dir(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _classes(folder: Path) -> list[str]:
    return [entry.name for entry in _entries(folder) if _is_dir(entry)]


def _check_classes(found: Folder) -> None:
    """At least two, and the same in all splits."""
    (first, *others) = found.parts.values()
    names = _classes(first)
    if len(names) < 2:
        raise InputError(
            f"{found}: {first} has {len(names)} folders of images; at least two classes are "
            "needed, one folder each"
        )
    for other in others:
        differing = sorted(set(names) ^ set(_classes(other)))
        if differing:
            listed = ", ".join(map(repr, differing[:3])) + (" ..." if len(differing) > 3 else "")
            raise InputError(
                f"{found}: only one of {first.name!r} and {other.name!r} has the classes {listed};"
                " both need the same"
            )
