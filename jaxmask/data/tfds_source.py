"""A split of a prepared TFDS dataset, decoded: from the cache, or once from the records."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import NoReturn

import numpy as np

from jaxmask.data import cache, prepared
from jaxmask.data.decode import decode
from jaxmask.errors import InputError

FORMAT_VERSION = 1  # of the cache and of the decoding; another one makes old entries stale
CHUNK = 256  # records read and decoded as one piece of work


def read_split(
    name: str, split: str, *, size: int, data_dir: Path, cache_dir: Path, progress: bool
) -> cache.Entry:
    """The decoded split as a cache entry, which is built if there is no intact one.

    Raises:
      InputError: see `jaxmask.data.load`.
      OSError: the cache cannot be written.
    """
    found = prepared.find(name, data_dir)
    prepared.check_split(found, split)
    print_of = prepared.fingerprint(found.folder, FORMAT_VERSION, split, size)
    place = sha256(str(found.folder.resolve()).encode()).hexdigest()[:8]
    parts = [*found.folder.relative_to(data_dir).parts, split, *([str(size)] if size else [])]
    folder = cache_dir / "-".join([*parts, place, print_of[:12]])
    entry = cache.read(folder, print_of)
    return entry or _build(found, split, size, folder, print_of, progress)


def _build(found, split, size, folder, print_of, progress) -> cache.Entry:
    import tensorflow_datasets as tfds

    builder = tfds.builder_from_directory(str(found.folder))
    keys, names, channels = _features(found, builder.info)
    # Raw, because TFDS decodes one record at a time: 30 s for MNIST.
    source = builder.as_data_source(
        split,
        deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES,
        file_format=prepared.FORMAT,
    )

    def decoded(start: int) -> tuple[np.ndarray, np.ndarray]:
        return _decode_chunk(found, split, source, start, keys, len(names), channels, size)

    chunks = _same_size(_in_order(decoded, range(0, len(source), CHUNK)), found)
    if progress:
        chunks = _with_progress(chunks, len(source), f"decoding {found.name} {split}")
    with closing(chunks):  # stops the threads and the bar, also when the disk is full
        return cache.build(folder, print_of, names, len(source), chunks)


def _features(found, info) -> tuple[tuple[str, str], list[str], int]:
    """((image key, label key), class names, channels) of an image classification set."""
    from tensorflow_datasets.core import features as kinds

    keys = info.supervised_keys or ("image", "label")
    features = dict(info.features.items())
    image, label = (features.get(key) if isinstance(key, str) else None for key in keys[:2])
    if not isinstance(image, kinds.Image) or not isinstance(label, kinds.ClassLabel):
        raise InputError(
            f"{found} is no image classification set: it maps {keys!r}, its features are "
            f"{', '.join(features)}; choose one that maps an image to a class"
        )
    channels = image.shape[-1] or 3
    if image.np_dtype != np.uint8 or channels not in (1, 3, 4):
        raise InputError(
            f"{found} has {np.dtype(image.np_dtype)} images of {channels} channels; choose one "
            "with uint8 images of 1, 3 or 4"
        )
    return keys[:2], list(label.names), channels


def _decode_chunk(found, split, source, start, keys, num_classes, channels, size):
    from tensorflow_datasets.proto import tf_example_pb2

    images, labels = [], []
    indices = range(start, min(start + CHUNK, len(source)))
    for i, record in zip(indices, _records(source, indices)):
        if isinstance(record, Exception):
            _refuse_record(found, split, i, record)
        try:
            example = tf_example_pb2.Example.FromString(record).features.feature
            encoded = example[keys[0]].bytes_list.value[0]
            label = example[keys[1]].int64_list.value[0]
        except Exception as error:  # what a parser raises on garbage is its own affair
            _refuse_record(found, split, i, error)
        image = decode(encoded, channels, size)
        if image is None:
            _refuse_record(found, split, i, "its bytes are no image")
        if not 0 <= label < num_classes:
            raise InputError(
                f"{found}: record {i} of split {split!r} has label {label}, none of the "
                f"{num_classes} classes; choose a dataset whose split {split!r} is labelled"
            )
        if images and image.shape != images[0].shape:
            _refuse_sizes(found, images[0].shape, image.shape)
        images.append(image)
        labels.append(label)
    return np.stack(images), np.asarray(labels, np.int32)


def _records(source, indices: range) -> list[bytes | Exception]:
    """Records in bulk; where that fails one by one, so that the damaged one is known."""
    try:
        return source.__getitems__(indices)
    except Exception:  # array_record raises various kinds for a damaged file
        return [_record(source, i) for i in indices]


def _record(source, i: int) -> bytes | Exception:
    try:
        return source[i]
    except Exception as error:
        return error


def _refuse_record(found, split, i, why) -> NoReturn:
    why = (str(why).splitlines() or [type(why).__name__])[0][:200]
    raise InputError(
        f"{found}: record {i} of split {split!r} is damaged ({why}); to prepare it again: "
        f"{prepared.prepare_again_command(found.name, found.folder, found.data_dir)}"
    )


def _same_size(chunks, found):
    first = None
    for images, labels in chunks:
        first = images.shape[1:] if first is None else first
        if images.shape[1:] != first:
            _refuse_sizes(found, first, images.shape[1:])
        yield images, labels


def _refuse_sizes(found, one, other) -> NoReturn:
    raise InputError(
        f"{found}: its images differ in size ({one[0]}x{one[1]} and {other[0]}x{other[1]}); "
        "set size, such as size=64, to resize and crop them"
    )


def _in_order(work, items) -> Iterator:
    """`map` over all cores, in order, with few results waiting at any time.

    Threads suffice: decoding releases the interpreter lock.
    """
    affinity = getattr(os, "sched_getaffinity", None)  # the cores we may use; Linux
    workers = len(affinity(0)) if affinity else os.cpu_count() or 1
    with ThreadPoolExecutor(workers) as pool:
        waiting = []
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) > workers + 1:
                    yield waiting.pop(0).result()
            while waiting:
                yield waiting.pop(0).result()
        finally:
            for future in waiting:
                future.cancel()


def _with_progress(chunks, total, title):
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True)) as bar:
        task = bar.add_task(title, total=total)
        for images, labels in chunks:
            yield images, labels
            bar.advance(task, len(labels))
