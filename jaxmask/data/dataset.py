"""Load a dataset by name, cut into training, validation and test splits."""

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxmask.data import digits
from jaxmask.data.decode import resize
from jaxmask.data.subset import relabel, split_training
from jaxmask.data.tfds_source import read_split
from jaxmask.errors import InputError


class Split(NamedTuple):
    """Examples: `images` uint8 [N, H, W, C], perhaps memory-mapped; `labels` int32 [N]."""

    images: np.ndarray
    labels: np.ndarray


class Dataset(NamedTuple):
    """Three splits; `classes` names the labels, so `len(classes)` is the number of outputs."""

    name: str
    train: Split
    validation: Split
    test: Split
    classes: tuple[str, ...]


def load(
    name: str,
    *,
    classes=(),
    share: float = 1.0,
    validation: float = 0.1,
    seed: int = 0,
    size: int = 0,
    data_dir=None,
    cache_dir=None,
    progress: bool = True,
) -> Dataset:
    """Load a dataset into host memory, or map it from the cache.

    The first load of a TFDS dataset decodes it with a progress bar and keeps the uint8 arrays in
    the cache; later loads map them. The order of the examples is the dataset's own.

    Args:
      name: "digits" (scikit-learn's 1,797, needs nothing), or a TFDS image classification set as
        `name[/config][:version]` that is prepared in array_record format.
      classes: labels to keep, renumbered 0, 1, ... in the given order; empty keeps all.
      share: stratified share in (0, 1] of the training labels, at least one of every class. Taken
        before the validation split, whose labels count as used.
      validation: a share in [0, 1) or a whole number of the training examples to hold out,
        stratified; every class keeps one training example. 0 makes an empty split.
      seed: decides which examples `share` and `validation` take. The test split never varies.
      size: resize the shorter side and crop the centre square, on the host, once. Needed where
        the images differ in size; 0 keeps them as they are.
      data_dir: where TFDS prepared it; default $TFDS_DATA_DIR, else ~/tensorflow_datasets.
      cache_dir: default $JAXMASK_CACHE, else ~/.cache/jaxmask; arrays go to its folder `data`.
      progress: whether to show a bar on stderr while decoding.

    Returns:
      A `Dataset`. Where nothing is cut the images stay memory-mapped, else they are one copy.

    Raises:
      InputError: the dataset is unknown, not prepared (the message holds the command that does),
        prepared in another format, lacks a split, holds images of many sizes while size=0, or is
        damaged; or a class, share, validation or seed that cannot be.
      OSError: the cache cannot be written.

    Example:
      >>> dataset = load("digits", classes=(3, 5), share=0.5)
      >>> dataset.train.images.shape, dataset.classes
      ((123, 8, 8, 1), ('3', '5'))
    """
    options = dict(size=size, data_dir=data_dir, cache_dir=cache_dir, progress=progress)
    train, names = load_split(name, "train", **options)
    test, test_names = load_split(name, "test", **options)
    if names != test_names or train.images.shape[1:] != test.images.shape[1:]:
        raise InputError(
            f"dataset {name!r}: train ({len(names)} classes, {train.images.shape[1:]}) and test "
            f"({len(test_names)} classes, {test.images.shape[1:]}) do not fit; set size"
        )
    kept, labels = relabel(train.labels, classes, len(names))
    training, held_out = split_training(labels, share, validation, seed, kept)
    test_kept, test_labels = relabel(test.labels, classes, len(names))
    return Dataset(
        name=name,
        train=Split(_take(train.images, kept[training]), labels[training]),
        validation=Split(_take(train.images, kept[held_out]), labels[held_out]),
        test=Split(_take(test.images, test_kept), test_labels),
        classes=tuple(names[label] for label in classes) if len(classes) else names,
    )


def load_split(
    name: str, split: str, *, size: int = 0, data_dir=None, cache_dir=None, progress: bool = True
) -> tuple[Split, tuple[str, ...]]:
    """One split as the dataset has it, whole, and the names of its classes; see `load`.

    This reads a dataset of which only one split is there, such as a test set.
    """
    if size < 0:
        raise InputError(f"size must be 0 or a number of pixels, not {size}")
    if name == "digits":
        return _digits(split, size)
    entry = read_split(
        name,
        split,
        size=int(size),
        data_dir=_folder(data_dir, "TFDS_DATA_DIR", "~/tensorflow_datasets"),
        cache_dir=_folder(cache_dir, "JAXMASK_CACHE", "~/.cache/jaxmask") / "data",
        progress=progress,
    )
    return Split(entry.images, entry.labels), entry.classes


def _digits(split: str, size: int) -> tuple[Split, tuple[str, ...]]:
    splits = digits.read()
    if split not in splits:
        raise InputError(f"dataset 'digits' has no split {split!r}, only 'train' and 'test'")
    images, labels = splits[split]
    if size:
        images = np.stack([resize(image, size) for image in images])
    return Split(images, labels), digits.CLASSES


def _folder(given, variable: str, default: str) -> Path:
    return Path(given or os.environ.get(variable) or default).expanduser().absolute()


def _take(images: np.ndarray, indices: np.ndarray) -> np.ndarray:
    """images[indices]; the images themselves (and their memory map) if that is all of them."""
    return images if len(indices) == len(images) else np.take(images, indices, axis=0)
