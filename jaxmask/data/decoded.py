"""A split's images: from the cache, decoded into it once, or decoded on demand.

They come from a `Source`; this module need not know whether of TFDS records or files in a folder.
"""

from collections.abc import Callable, Generator, Iterable
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxmask import signals
from jaxmask.data import cache
from jaxmask.data.lazy import Lazy
from jaxmask.data.parallel import in_order, with_progress
from jaxmask.errors import InputError

FORMAT_VERSION = 1  # of the cache and of the decoding; changing it makes old entries stale
CHUNK = 256  # images read and decoded as one unit of work
NAMED = 3  # unreadable files that an error names


class Source(NamedTuple):
    """Opened, encoded images.

    Attributes:
      classes: the names of the labels.
      examples: their number, N.
      decode: indices int [n] -> (uint8 [n, H, W, C], int32 [n]); raises InputError, or
        `Unreadable` if other images may still be readable. Called from many threads.
    """

    classes: tuple[str, ...]
    examples: int
    decode: Callable[[Any], tuple[np.ndarray, np.ndarray]]


class Described(NamedTuple):
    """What is known about a source before it is opened.

    Attributes:
      title: for error messages, such as "dataset 'mnist' in /data/mnist/3.0.1".
      short: for the progress bar.
      entry: the name of its cache entry, without the fingerprint.
      fingerprint: (more) -> a hash of everything that the decoded images depend on, and of `more`.
      keys: (N) -> uint64 [N], random numbers, fixed for each example.
      open: returns the source; not called if the cache has everything.
    """

    title: str
    short: str
    entry: str
    fingerprint: Callable[..., str]
    keys: Callable[[int], np.ndarray]
    open: Callable[[], Source]


class Opened(NamedTuple):
    """uint8 [N, H, W, C], an array or `Lazy`; int32 [N]; one name per class."""

    images: Any
    labels: np.ndarray
    classes: tuple[str, ...]


class Unreadable(InputError):  # noqa: N818 - an InputError about the files it lists
    """Some images cannot be decoded: [(path, why)]."""

    def __init__(self, title: str, files: list[tuple[str, str]]) -> None:
        named = ", ".join(f"{path} ({why})" for path, why in files[:NAMED])
        more = f" and {len(files) - NAMED} more" if len(files) > NAMED else ""
        count = "1 image" if len(files) == 1 else f"{len(files)} images"
        super().__init__(f"{title}: {count} cannot be read: {named}{more}; repair or remove them")
        self.title, self.files = title, files


def read(described: Described, *, cache_dir: Path, cache_bytes: float, progress: bool) -> Opened:
    """The images and labels of a split.

    A split of at most `cache_bytes` decoded is kept in the cache. Every image of a larger one is
    decoded once, to report damaged ones before anything else, and only the labels are kept.

    Raises:
      InputError: see `jaxmask.data.load`.
      OSError: the cache cannot be written.
    """
    entry = _entry(described, cache_dir)
    if entry is not None:
        return Opened(*entry)
    source = described.open()
    if not source.examples:
        raise InputError(f"{described.title} has no images")
    try:
        shape = source.decode(np.arange(1))[0].shape[1:]
    except Unreadable:  # the build reports all of them
        return Opened(*_build(described, source, cache_dir, False, progress))
    if source.examples * np.prod(shape, dtype=np.int64) <= cache_bytes:
        return Opened(*_build(described, source, cache_dir, True, progress))
    entry = _entry(described, cache_dir, "labels") or _build(
        described, source, cache_dir, False, progress
    )
    images = Lazy(lambda indices: _decoded(described, source, shape, indices), shape,
                  np.arange(source.examples))  # fmt: skip
    return Opened(images, entry.labels, entry.classes)


def refuse_sizes(title: str, one: tuple[int, ...], other: tuple[int, ...]) -> None:
    """Raises InputError for two images of different heights or widths."""
    if one != other:
        raise InputError(
            f"{title}: its images differ in size ({one[0]}x{one[1]} and {other[0]}x{other[1]}); "
            "set size, such as size=64, to resize and crop them"
        )


def _place(described: Described, cache_dir: Path, *more: str) -> tuple[Path, str]:
    print_of = described.fingerprint(*more)
    return cache_dir / "-".join([described.entry, *more, print_of[:12]]), print_of


def _entry(described: Described, cache_dir: Path, *more: str) -> cache.Entry | None:
    return cache.read(*_place(described, cache_dir, *more))


def _build(
    described: Described, source: Source, cache_dir: Path, keep: bool, progress: bool
) -> cache.Entry:
    def decoded(start: int) -> Any:
        try:
            indices = np.arange(start, min(start + CHUNK, source.examples))
            images, labels = source.decode(indices)
        except Unreadable as error:
            return error
        return images.shape[1:], images if keep else None, labels

    chunks = _whole(in_order(decoded, range(0, source.examples, CHUNK)), described.title)
    if progress:
        what = "decoding" if keep else "checking"
        chunks = with_progress(chunks, source.examples, f"{what} {described.short}")
    folder, print_of = _place(described, cache_dir, *([] if keep else ["labels"]))
    with closing(chunks):  # stops the threads and the bar, even if the disk is full
        return cache.build(folder, print_of, source.classes, source.examples, chunks)


def _whole(found: Iterable[Any], title: str) -> Generator[Any]:
    """(images, labels) of all chunks; after trying all, raises for those that cannot be read."""
    unreadable: list[tuple[str, str]] = []
    first = None
    for one in found:
        signals.obey()
        if isinstance(one, Unreadable):
            unreadable += one.files
        elif not unreadable:
            shape, images, labels = one
            first = shape if first is None else first
            refuse_sizes(title, first, shape)
            yield images, labels
    if unreadable:
        raise Unreadable(title, unreadable)


def _decoded(
    described: Described, source: Source, shape: tuple[int, ...], indices: np.ndarray
) -> np.ndarray:
    images = source.decode(indices)[0]
    refuse_sizes(described.title, shape, images.shape[1:])
    return images
