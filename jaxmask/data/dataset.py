"""Load a dataset by name, split into training, validation and test sets."""

import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxmask.data import (
    arrow_source,
    decoded,
    digits,
    folder_source,
    prepared,
    splits,
    tfds_source,
)
from jaxmask.data.decode import resize
from jaxmask.data.lazy import Lazy
from jaxmask.data.subset import relabel, split_training
from jaxmask.data.tokenizer import Tokenizer
from jaxmask.errors import InputError, is_name, is_text

FOLDER = "folder:"
HUB = "hf:"
TEXTS = ("text:", "mlm:")
LONGEST_NAME = 255  # bytes of one name in a path


class Split(NamedTuple):
    """Examples: `images` uint8 [N, H, W, C], `labels` int32 [N].

    The images are an array, possibly memory-mapped, or `Lazy`: decoded when indexed. Of texts,
    their place is taken by token ids int32 [N, L].
    """

    images: Any
    labels: np.ndarray


class Dataset(NamedTuple):
    """Three splits; `classes` names the labels, so `len(classes)` is the number of outputs.

    `tokenizer` is what texts were made token ids by; None for images.
    """

    name: str
    train: Split
    validation: Split
    test: Split
    classes: tuple[str, ...]
    tokenizer: Tokenizer | None = None


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
    cache_gib: float = 8.0,
    progress: bool = True,
) -> Dataset:
    """Load a dataset into host memory, or map it from the cache.

    The first load decodes a dataset with a progress bar and keeps the uint8 arrays in the cache;
    later loads map them. Examples keep the dataset's own order; in a folder, that of the paths.

    The test split is the dataset's `test`; without one, its `validation`; without either, a
    stratified fifth of `train` that is the same for every seed. `share` and `validation` choose
    from the rest: `train` and, if there is a `test`, also the dataset's own `validation`.

    Args:
      name: "digits" (scikit-learn's 1,797 images, no download); a TFDS image classification
        dataset, `name[/config][:version]`, prepared in array_record format; or "folder:PATH", a
        folder with one folder of images per class, named after it, in any format that Pillow
        reads. PATH may contain `train`, `test` and `validation` (or `valid`, or `val`), each with
        the same class folders. Hidden files and other files are ignored; images may be nested
        deeper in a class folder. Which fifth is tested on depends on the paths alone, so adding
        an image moves no other one. Or "hf:OWNER/NAME" or "hf:OWNER/NAME:CONFIG", a dataset of the
        Hugging Face hub, fetched once by `datasets`; or "hf:/PATH" or "hf:./PATH", a folder that
        `save_to_disk` of a `Dataset` or `DatasetDict` wrote. "#LABEL" or "#IMAGE,LABEL" after it
        names the columns, where they cannot be found: the only one of images, and the only one of
        class names or else a column called label. A split without labels (None, -1) is left out.
      classes: labels to keep, at least two, renumbered 0, 1, ... in the given order; empty keeps
        all.
      share: stratified fraction in (0, 1] of the training labels, at least one per class. Taken
        before the validation split, whose labels count as used.
      validation: training examples to hold out, stratified: a fraction in [0, 1) or a count; every
        class keeps one training example. 0 makes an empty split.
      seed: decides which examples `share` and `validation` take. The test split never varies.
      size: resize the shorter side and crop the center square, on the host, once. Needed if
        the images differ in size; 0 keeps them as they are.
      data_dir: where TFDS prepared the dataset; default $TFDS_DATA_DIR, else ~/tensorflow_datasets.
      cache_dir: default $JAXMASK_CACHE, else ~/.cache/jaxmask; arrays go to its subfolder `data`,
        notes about what the hub gave to `hub`.
      cache_gib: largest decoded split to cache. Images of a larger one are `Lazy`, decoded each
        time they are indexed, and only its labels are cached. A split already in the cache is
        used whatever its size.
      progress: whether to show a progress bar on stderr while decoding.

    Returns:
      A `Dataset`. Images of a split used whole stay memory-mapped; others are copied once.

    Raises:
      InputError: the dataset is unknown, not prepared (the message gives the command to prepare
        it), cannot be fetched, prepared in another format, lacks a split, has images of different
        sizes with size=0 or several columns of labels, or is damaged (the message gives the paths);
        fewer
        than two classes; or an invalid class, share, validation or seed.
      OSError: the cache cannot be written.

    Example:
      >>> dataset = load("digits", classes=(3, 5), share=0.5)
      >>> dataset.train.images.shape, dataset.classes
      ((123, 8, 8, 1), ('3', '5'))
    """
    if not is_text(name):
        raise InputError(
            f"the name of the dataset, {name!r}, has characters that files cannot name"
        )
    options = (size, data_dir, cache_dir, cache_gib, progress)
    train, test = _open(name, "train", *options), _open(name, "test", *options)
    names, shape = train.classes, train.images.shape[1:]
    if names != test.classes or shape != test.images.shape[1:]:
        raise InputError(
            f"dataset {name!r}: train ({len(names)} classes, {shape}) and test "
            f"({len(test.classes)} classes, {test.images.shape[1:]}) differ; set size"
        )
    return assembled(name, train, test, classes, share, validation, seed)


def assembled(
    name: str, train: "Part", test: "Part", classes: Any, share: float, validation: float, seed: int
) -> Dataset:
    """The dataset of what there is to train on, and to test on; for the options, see `load`."""
    names = train.classes
    kept, labels = relabel(train.labels, classes, len(names))
    if (count := len(classes) or len(names)) < 2:
        chosen = f"classes is {tuple(classes)}" if len(classes) else f"dataset {name!r} has {count}"
        raise InputError(f"{chosen}: nothing to tell apart; at least two classes are needed")
    kept = train.indices[kept]
    training, held_out = split_training(labels, share, validation, seed, kept)
    test_kept, test_labels = relabel(test.labels, classes, len(names))
    return Dataset(
        name=name,
        train=Split(_take(train.images, kept[training]), labels[training]),
        validation=Split(_take(train.images, kept[held_out]), labels[held_out]),
        test=Split(_take(test.images, test.indices[test_kept]), test_labels),
        classes=tuple(names[label] for label in classes) if len(classes) else names,
    )


def load_split(
    name: str,
    split: str,
    *,
    size: int = 0,
    data_dir=None,
    cache_dir=None,
    cache_gib: float = 8.0,
    progress: bool = True,
) -> tuple[Split, tuple[str, ...]]:
    """One whole split and its class names.

    "train" and "test" are what `load` makes its splits from; "all" is every labeled example, such
    as a whole folder of new images; any other name is one of the dataset's own splits. Also reads
    a dataset that has only one split, such as a test set.
    """
    part = _open(name, split, size, data_dir, cache_dir, cache_gib, progress)
    return Split(_take(part.images, part.indices), part.labels), part.classes


class Part(NamedTuple):
    """Images, the `indices` of those that belong to a split, and their labels."""

    images: Any
    indices: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]


def _open(name, split, size, data_dir, cache_dir, cache_gib, progress) -> Part:
    if size < 0:
        raise InputError(f"size must be 0 or a number of pixels, not {size}")
    if not cache_gib >= 0:
        raise InputError(f"cache_gib must be 0 or a number of GiB, not {cache_gib}")
    if max(len(part.encode(errors="replace")) for part in name.split("/")) > LONGEST_NAME:
        raise InputError(f"there is no dataset {name[:40]!r}...: the name is too long")
    if name == "digits":
        return _digits(split, size)
    if name.startswith(TEXTS):
        raise InputError(f"{name} is of texts, which a tokenizer is for; use data.load_texts")
    caches = caches_folder(cache_dir)
    found: Any
    describe: Any
    if name.startswith(FOLDER):
        found, describe = folder_source.find(name.removeprefix(FOLDER)), folder_source.describe
    elif name.startswith(HUB):
        found, describe = arrow_source.find(name, caches), arrow_source.describe
    else:
        found, describe = prepared.find(name, tfds_folder(data_dir)), tfds_source.describe
    choice = splits.choose(found.splits, split)
    described = describe(found, choice.names, int(size))
    opened = decoded.read(
        described,
        cache_dir=caches / "data",
        cache_bytes=cache_gib * 2**30,
        progress=progress,
    )
    check_names(name, opened.classes)
    indices = np.arange(len(opened.labels))
    if choice.fifth is not None:
        fifth = splits.in_fifth(opened.labels, described.keys(len(indices)))
        indices = np.flatnonzero(fifth == choice.fifth)
    return Part(opened.images, indices, opened.labels[indices], opened.classes)


def check_names(name: str, classes: tuple[str, ...]) -> None:
    """Raises InputError for classes that a task's file could not name."""
    first = {each: label for label, each in reversed(list(enumerate(classes)))}
    for label, each in enumerate(classes):
        if not is_name(each) or first[each] != label:
            raise InputError(
                f"dataset {name!r}: the class {label} is called {each!r}, which is blank, not "
                "printable or another one's name; rename it"
            )


def _digits(split: str, size: int) -> Part:
    own = digits.read()
    known = {**own, "all": tuple(map(np.concatenate, zip(*own.values())))}
    if split not in known:
        raise InputError(f"dataset 'digits' has no split {split!r}, only 'train' and 'test'")
    images, labels = known[split]
    if size:
        images = np.stack([resize(image, size) for image in images])
    return Part(images, np.arange(len(labels)), labels, digits.CLASSES)


def tfds_folder(given: Any) -> Path:
    """The folder of TFDS datasets: as given, or else $TFDS_DATA_DIR or ~/tensorflow_datasets."""
    return _folder(given, "TFDS_DATA_DIR", "~/tensorflow_datasets")


def caches_folder(given: Any) -> Path:
    """The folder of caches: as given, or else $JAXMASK_CACHE or ~/.cache/jaxmask."""
    return _folder(given, "JAXMASK_CACHE", "~/.cache/jaxmask")


def _folder(given, variable: str, default: str) -> Path:
    return Path(given or os.environ.get(variable) or default).expanduser().absolute()


def _take(images: Any, indices: np.ndarray) -> Any:
    """images[indices]; `images` itself, still memory-mapped, if that is all of them."""
    if len(indices) == len(images):
        return images
    return images.take(indices) if isinstance(images, Lazy) else np.take(images, indices, axis=0)
