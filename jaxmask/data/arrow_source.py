"""The encoded images and the labels of a dataset that `datasets` wrote as Arrow files."""

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import cache
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np

from jaxmask.data import columns, saved, splits
from jaxmask.data.decode import decode_file, reason
from jaxmask.data.decoded import FORMAT_VERSION, Described, Source, Unreadable, refuse_sizes
from jaxmask.data.subset import random_keys
from jaxmask.errors import InputError

MISSING = {None, -1, ""}  # all of a split's labels, if it has none
HEADER = 4096  # bytes
GRAY = {"1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N"}  # modes of Pillow


class Arrow(NamedTuple):
    """A dataset: its columns, class names, and int32 [N] labels of each split that has some."""

    saved: saved.Saved
    image: str
    label: str
    classes: tuple[str, ...]
    labels: dict[str, np.ndarray]

    @property
    def splits(self) -> tuple[str, ...]:
        return tuple(self.labels)

    def __str__(self) -> str:
        return str(self.saved)


def find(name: str, cache_dir: Path) -> Arrow:
    """The dataset of this name and its labels, which are read; its images are not.

    Class names give their order; integers and text are ordered by value.

    Raises:
      InputError: see `saved.find` and `columns.choose`; or splits with different classes, fewer
        than two classes, or an example without a label in a split that has labels.
    """
    found = saved.find(name, cache_dir)
    first = found.parts.get("train") or next(iter(found.parts.values()))
    image, label = columns.choose(found.name, first.features, found.columns)
    values = {
        split: _column(found, part, label)
        for split, part in found.parts.items()
        if label in part.features
    }
    labeled = {
        split: column
        for split, column in values.items()
        if not len(column) or set(column.unique().to_pylist()) - MISSING
    }
    for split in labeled:
        part = found.parts[split]
        for column in (image, label):
            if part.features.get(column) != first.features[column]:
                _refuse(found, f"{column!r} is another thing in {first.name!r} and {part.name!r}")
    names, known = _classes(found, first.features[label], labeled)
    labels = {
        split: _numbered(found, found.parts[split], column, known)
        for split, column in labeled.items()
    }
    left_out = [part.name for split, part in found.parts.items() if split not in labels]
    if left_out and labels:
        tested = splits.choose(tuple(labels), "test")
        _say_once(
            f"{found}: no labels in {', '.join(map(repr, left_out))}, left out; tested on is "
            f"{'a fifth of ' if tested.fifth else ''}{tested.names[0]!r}"
        )
    return Arrow(found, image, label, names, labels)


def describe(found: Arrow, parts: Sequence[str], size: int) -> Described:
    """Some of its splits, concatenated.

    Raises:
      InputError: the dataset lacks one of them, or its labels.
    """
    for split in parts:
        if split not in found.labels:
            only = ", ".join(map(repr, found.labels)) or "none"
            what = "no labels in its" if split in found.saved.parts else "no"
            raise InputError(f"{found} has {what} split {split!r}, only {only}")
    together = "+".join(parts)
    of = (found.saved.place, found.image, found.label)
    stats = [
        (str(path), *_stat(path)) for part in found.saved.parts.values() for path in part.files
    ]
    state = repr((FORMAT_VERSION, together, size, of, found.classes, found.splits, stats))
    short = re.sub(r"[^\w.]+", "_", Path(found.saved.place).name)
    place = sha256(repr(of).encode()).hexdigest()[:8]
    return Described(
        title=str(found),
        short=f"{short} {together}",
        entry="-".join(["hf", short, together, *([str(size)] if size else []), place]),
        fingerprint=lambda *more: sha256(repr((state, *more)).encode()).hexdigest(),
        keys=lambda count: random_keys(count, 0, 3),
        open=lambda: _open(found, parts, size),
    )


def _open(found: Arrow, names: Sequence[str], size: int) -> Source:
    parts = [found.saved.parts[split] for split in names]
    chunks = [
        (part.name, start, chunk)
        for part in parts
        for start, chunk in _chunks(found.saved, part, found.image)
    ]
    ends = np.cumsum([len(chunk) for *_, chunk in chunks])
    labels = np.concatenate([found.labels[split] for split in names])
    channels = 1 if _is_gray(found) else 3

    def decoded(indices: Any) -> tuple[np.ndarray, np.ndarray]:
        indices = np.asarray(indices)
        images, unreadable = [], []
        for index, which in zip(indices.tolist(), np.searchsorted(ends, indices, side="right")):
            split, start, chunk = chunks[which]
            within = index - int(ends[which]) + len(chunk)
            try:
                images.append(decode_file(_encoded(chunk[within]), size, channels))
            except Exception as error:  # a decoder may raise anything for a damaged file
                unreadable.append((f"row {start + within} of {split!r}", reason(error)))
        if unreadable:
            raise Unreadable(str(found), unreadable)
        for image in images:
            refuse_sizes(str(found), images[0].shape, image.shape)
        return np.stack(images), labels[indices]

    return Source(found.classes, len(labels), decoded)


def _column(found: saved.Saved, part: saved.Part, name: str) -> Any:
    """One column of a split, mapped from its files, as a chunked array."""
    import pyarrow as pa

    try:
        tables = [pa.ipc.open_stream(pa.memory_map(str(path))).read_all() for path in part.files]
        return pa.chunked_array([chunk for table in tables for chunk in table[name].chunks],
                                type=tables[0][name].type)  # fmt: skip
    except (OSError, KeyError, IndexError, pa.ArrowException) as error:
        _refuse(found, f"the files of its split {part.name!r} are damaged ({reason(error)}); save "
                       "it again, or delete them and fetch it again")  # fmt: skip


def _chunks(found: saved.Saved, part: saved.Part, name: str) -> Iterator[tuple[int, Any]]:
    """(number of its first row, array) of each piece of a column."""
    start = 0
    for chunk in _column(found, part, name).chunks:
        yield start, chunk
        start += len(chunk)


def _encoded(stored: Any, length: int | None = None) -> Any:
    """The file in one cell of the image column: opened, or, if it is elsewhere, its path.

    Args:
      length: of the bytes to copy; None is all.
    """
    import pyarrow as pa

    path = None
    if stored.is_valid and pa.types.is_struct(stored.type):
        path = stored["path"].as_py() if stored.type.get_field_index("path") >= 0 else None
        stored = stored["bytes"]
    if stored.is_valid:
        return BytesIO(
            memoryview(stored.as_buffer())[:length]
        )  # pyarrow's own readers refuse to seek past the end
    if path is None:
        raise ValueError("it has no image")
    return path


def _is_gray(found: Arrow) -> bool:
    """Whether all images are: those of color sets may be gray here and there."""
    feature = found.saved.parts[found.splits[0]].features[found.image]
    if feature.get("mode"):
        return feature["mode"] in GRAY
    modes: set[str] = set()
    for split in found.splits:
        for _, chunk in _chunks(found.saved, found.saved.parts[split], found.image):
            modes.update(map(_mode, chunk))
            if modes - GRAY - {""}:
                return False
    return bool(modes - {""})


def _mode(stored: Any) -> str:
    """Pillow's mode of an image; "" if it cannot be read, which is reported when it is decoded."""
    from PIL import Image

    for part in (HEADER, None):  # mostly the first bytes suffice, and then only they are read
        with suppress(Exception):
            file = _encoded(stored, part)
            return str(Image.open(file).mode)
    return ""


def _classes(
    found: saved.Saved, feature: Any, labeled: dict[str, Any]
) -> tuple[tuple[str, ...], list[Any]]:
    """(names, values) of the classes."""
    if columns.kind(feature) == "ClassLabel":
        names = tuple(map(str, feature["names"]))
        return names, list(range(len(names)))
    values = {split: set(column.unique().to_pylist()) for split, column in labeled.items()}
    for split in values:
        more = values[split] - values.get("train", values[split]) - {None}
        if more:
            listed = ", ".join(map(repr, sorted(more)[:3])) + (" ..." if len(more) > 3 else "")
            _refuse(found, f"only {found.parts[split].name!r} has the classes {listed}; save it "
                           "with images of the same classes in all splits")  # fmt: skip
    known = sorted(set().union(*values.values()) - {None})
    if labeled and len(known) < 2:
        _refuse(found, f"its labels are all {known[0]!r}; at least two classes are needed")
    return tuple(map(str, known)), known


def _numbered(found: saved.Saved, part: saved.Part, column: Any, known: list[Any]) -> np.ndarray:
    """int32 [N]: the place of each value in `known`."""
    import pyarrow as pa
    import pyarrow.compute as pc

    places = pc.index_in(column, value_set=pa.array(known, column.type))
    absent = np.flatnonzero(places.is_null().to_numpy())
    if len(absent):
        row = int(absent[0])
        _refuse(found, f"{len(absent)} labels of its split {part.name!r} are none of the "
                       f"{len(known)} classes (row {row}: {column[row].as_py()}); save it without "
                       "such rows (filter)")  # fmt: skip
    return places.to_numpy().astype(np.int32)


def _stat(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns


@cache  # a dataset is opened split by split
def _say_once(message: str) -> None:
    from absl import logging

    logging.warning("%s", message)


def _refuse(found: saved.Saved, why: str) -> NoReturn:
    raise InputError(f"{found}: {why}")
