"""The encoded images of a prepared TFDS dataset."""

from collections.abc import Sequence
from hashlib import sha256
from typing import Any, NoReturn

import numpy as np

from jaxmask.data import prepared
from jaxmask.data.decode import decode
from jaxmask.data.decoded import FORMAT_VERSION, Described, Source, refuse_sizes
from jaxmask.data.subset import random_keys
from jaxmask.errors import InputError


def describe(found: prepared.Prepared, splits: Sequence[str], size: int) -> Described:
    """Some of its splits, concatenated.

    Raises:
      InputError: the dataset lacks one of them.
    """
    for split in splits:
        prepared.check_split(found, split)
    together = "+".join(splits)
    place = sha256(str(found.folder.resolve()).encode()).hexdigest()[:8]
    parts = found.folder.relative_to(found.data_dir).parts
    options = (FORMAT_VERSION, together, size)
    return Described(
        title=str(found),
        short=f"{found.name} {together}",
        entry="-".join([*parts, together, *([str(size)] if size else []), place]),
        fingerprint=lambda *more: prepared.fingerprint(found.folder, *options, *more),
        keys=lambda count: random_keys(count, 0, 3),
        open=lambda: _open(found, splits, size),
    )


def _open(found: prepared.Prepared, splits: Sequence[str], size: int) -> Source:
    import tensorflow_datasets as tfds

    builder = tfds.builder_from_directory(str(found.folder))
    keys, names, channels = features(str(found), builder.info)
    # Raw, because TFDS decodes one record at a time: 30 s for MNIST.
    sources = [
        builder.as_data_source(
            split,
            deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES,
            file_format=prepared.FORMAT,
        )
        for split in splits
    ]
    ends = np.cumsum([len(source) for source in sources])

    def decoded(indices: Any) -> tuple[np.ndarray, np.ndarray]:
        indices = np.asarray(indices)
        which = np.searchsorted(ends, indices, side="right")
        images: list[Any] = [None] * len(indices)
        labels = np.zeros(len(indices), np.int32)
        for part in np.unique(which):
            places = np.flatnonzero(which == part)
            within = (indices[places] - (ends[part] - len(sources[part]))).tolist()
            for place, i, record in zip(places, within, _records(sources[part], within)):
                images[place], labels[place] = _decode(
                    found, splits[part], i, record, keys, len(names), channels, size
                )
        for image in images:
            refuse_sizes(str(found), images[0].shape, image.shape)
        return np.stack(images), labels

    return Source(tuple(names), int(ends[-1]), decoded)


def features(title: str, info: Any) -> tuple[tuple[str, str], list[str], int]:
    """((image key, label key), class names, channels) of an image classification dataset.

    Raises:
      InputError: it is none, or its images are of another kind than uint8 [H, W, 1, 3 or 4].
    """
    from tensorflow_datasets.core import features as kinds

    keys = info.supervised_keys or ("image", "label")
    known = dict(info.features.items())
    image, label = (known.get(key) if isinstance(key, str) else None for key in keys[:2])
    if not isinstance(image, kinds.Image) or not isinstance(label, kinds.ClassLabel):
        raise InputError(
            f"{title} is not an image classification dataset: it maps {keys!r}, its features are "
            f"{', '.join(known)}; choose one that maps an image to a class"
        )
    channels = image.shape[-1] or 3
    if image.np_dtype != np.uint8 or channels not in (1, 3, 4):
        raise InputError(
            f"{title} has {np.dtype(image.np_dtype)} images of {channels} channels; choose one "
            "with uint8 images of 1, 3 or 4 channels"
        )
    return keys[:2], list(label.names), channels


def _decode(found, split, i, record, keys, num_classes, channels, size) -> tuple[np.ndarray, int]:
    from tensorflow_datasets.proto import tf_example_pb2

    if isinstance(record, Exception):
        _refuse_record(found, split, i, record)
    try:
        example = tf_example_pb2.Example.FromString(record).features.feature
        encoded = example[keys[0]].bytes_list.value[0]
        label = example[keys[1]].int64_list.value[0]
    except Exception as error:  # a parser may raise anything on garbage
        _refuse_record(found, split, i, error)
    image = decode(encoded, channels, size)
    if image is None:
        _refuse_record(found, split, i, "its bytes are not an image")
    if not 0 <= label < num_classes:
        raise InputError(
            f"{found}: record {i} of split {split!r} has label {label}, not one of the "
            f"{num_classes} classes; choose a dataset whose split {split!r} is labeled"
        )
    return image, label


def _records(source, indices: list[int]) -> list[bytes | Exception]:
    """Records in bulk; if that fails, one by one, to find the damaged one."""
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
