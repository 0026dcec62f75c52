"""What the metadata of a learned task may say: one row a field, checked whenever a file is read.

A checksum protects from damage, not from a writer with other ideas. A setting of an adapter is
checked by its `restore`, one of an evaluator by its `check_stored`.
"""

import reprlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import numpy as np

from jaxmask import model, tree
from jaxmask.data.augment import LARGEST, LEAST_STD, check_normalization
from jaxmask.errors import InputError, is_number
from jaxmask.model.registry import MOST_CLASSES, WIDEST

LONGEST_TEXT = 4096
LARGEST_SIDE = 2**14  # pixels
MOST_CHANNELS = 1024


class Field(NamedTuple):
    """A row: whether a value fits, and what does, for the message."""

    fits: Callable[[Any], bool]
    wanted: str


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= LONGEST_TEXT and "\0" not in value


def _is_list(value: Any, fits: Callable[[Any], bool], most: int) -> bool:
    return isinstance(value, list) and 1 <= len(value) <= most and all(map(fits, value))


def _is_width(value: Any) -> bool:
    return is_number(value, 0, WIDEST) and value > 0


def _is_size(value: Any, most: int) -> bool:
    return isinstance(value, int) and is_number(value, 1, most)


def _is_shape(value: Any) -> bool:
    if not isinstance(value, list) or len(value) != 3:
        return False
    return all(map(_is_size, value, (LARGEST_SIDE, LARGEST_SIDE, MOST_CHANNELS)))


_TEXT = Field(_is_text, f"a text of at most {LONGEST_TEXT} characters")
_NAME = Field(lambda value: _is_text(value) and value != "", "a name")
_RATE = Field(lambda value: is_number(value, 0), "a finite number of at least 0")
_OBJECT = Field(lambda value: isinstance(value, dict), "a JSON object")
_SHAPE = Field(
    _is_shape,
    f"[height, width, channels], whole numbers of at most {LARGEST_SIDE}, {LARGEST_SIDE} and "
    f"{MOST_CHANNELS}",
)

FIELDS: dict[str, Field] = {
    "network": _NAME,
    "width": Field(_is_width, f"a number above 0, at most {WIDEST}"),
    "stem": _TEXT,
    "classes": Field(lambda value: _is_list(value, _is_text, MOST_CLASSES), "a list of names"),
    "mean": Field(
        lambda value: _is_list(
            value, lambda each: is_number(each, -LARGEST, LARGEST), MOST_CHANNELS
        ),
        f"a list of numbers from {-LARGEST:g} to {LARGEST:g}, one per channel",
    ),
    "std": Field(
        lambda value: _is_list(
            value, lambda each: is_number(each, LEAST_STD, LARGEST), MOST_CHANNELS
        ),
        f"a list of numbers from {LEAST_STD:g} to {LARGEST:g}, one per channel",
    ),
    "image_shape": _SHAPE,
    "stored_shape": _SHAPE,
    "start": _TEXT,
    "dataset": _TEXT,
    "method": _NAME,
    "metrics": _OBJECT,
    "learning_rate": _RATE,
    "mask_learning_rate": _RATE,
    "regularization": _RATE,
    "merged": _OBJECT,
}
NEEDED = ("network", "width", "classes", "mean", "std", "image_shape", "method")


def check(about: Mapping[str, Any], path: Path, needed: Iterable[str] = ()) -> None:
    """Raises InputError, naming file and field, for metadata that no task of ours has.

    Args:
      about: metadata by name; names that are not in `FIELDS` are not checked.
      needed: names that must be there, such as `NEEDED`.
    """
    if missing := [name for name in needed if name not in about]:
        raise InputError(
            f"{path} has a mask but no task: its header lacks {', '.join(missing)}; "
            "give a file that the recipe 'adapt' wrote"
        )
    for name, field in FIELDS.items():
        if name in about and not field.fits(about[name]):
            raise InputError(
                f"{path}: {name!r} in its metadata is {_kind(about[name])}; it must be "
                f"{field.wanted}: give the file as it was written"
            )
    if "mean" in about and "std" in about:
        with naming(path):
            check_normalization(about["mean"], about["std"])
        channels = about.get("image_shape", (0, 0, len(about["mean"])))[2]
        if len(about["mean"]) not in (1, channels):
            raise InputError(
                f"{path}: 'mean' in its metadata has {len(about['mean'])} numbers, its images "
                f"{channels} channels: give the file as it was written"
            )


def check_arrays(arrays: Mapping[str, Any], path: Path) -> None:
    """Raises InputError, naming file and path, for stored numbers that are not finite."""
    for name, leaf in tree.named_leaves(arrays).items():
        if tree.is_floating(leaf) and not np.isfinite(np.asarray(leaf, np.float32)).all():
            raise InputError(f"{path}: the array {name!r} is not finite: train the task again")


def check_network(
    about: Mapping[str, Any],
    variables: Mapping[str, Any],
    module: nn.Module,
    path: Path,
    head: bool = True,
) -> None:
    """Raises InputError unless the variables are those of the network that a file names.

    Args:
      about: its metadata, checked.
      variables: {"params", "batch_stats"}, arrays or their shapes.
      module: the network, as `model.create` makes it.
      head: whether its head is used.
    """
    with naming(path):
        built = model.shapes(module, about["image_shape"])
    wanted = {name: leaf.shape for name, leaf in tree.named_leaves(built).items()}
    have = {name: leaf.shape for name, leaf in tree.named_leaves(dict(variables)).items()}
    for name in sorted(wanted.keys() | have.keys()):
        if name.startswith("params/head/") and not head:
            continue
        if wanted.get(name) != have.get(name):
            there, named = (shapes.get(name, "missing") for shapes in (have, wanted))
            raise InputError(
                f"{path}: {name!r} is {there}, and {named} in the network of its metadata "
                f"({about['network']}, width {about['width']}, {len(about['classes'])} classes, "
                f"images {about['image_shape']}): give the file as it was written"
            )


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """InputErrors of the block name the file."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _kind(value: Any) -> str:
    names = {bool: "a truth value", str: "a text", list: "a list", dict: "an object"}
    if value is None:
        return "null"
    return f"{names.get(type(value), 'the number')} ({reprlib.repr(value)})"
