"""What the metadata of a learned task may say: one row a field, checked whenever a file is read.

A checksum protects from damage, not from a writer with other ideas. A setting of an adapter is
checked by its `restore`, one of an evaluator by its `check_stored`.
"""

import re
import reprlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import numpy as np

from jaxmask import model, tree
from jaxmask.data.augment import LARGEST, LEAST_STD, check_normalization
from jaxmask.errors import LONGEST_TEXT, InputError, is_name, is_number, is_text
from jaxmask.model import weights as weights_file
from jaxmask.model.registry import MOST_CLASSES, WIDEST

LARGEST_SIDE = 2**14  # pixels
LARGEST_SQUARE = 2**12  # images are resized to it
MOST_SHRUNK = 128  # side of a stored image / side of the network's
MOST_CHANNELS = 1024
MOST_TOKENS = 2**16


class Field(NamedTuple):
    """A row: whether a value fits, and what does, for the message."""

    fits: Callable[[Any], bool]
    wanted: str


def _is_list(value: Any, fits: Callable[[Any], bool], most: int) -> bool:
    return isinstance(value, list) and 1 <= len(value) <= most and all(map(fits, value))


def _are_classes(value: Any) -> bool:
    return _is_list(value, is_name, MOST_CLASSES) and len(set(value)) == len(value)


def _is_width(value: Any) -> bool:
    return is_number(value, 0, WIDEST) and value > 0


def _is_size(value: Any, most: int) -> bool:
    return isinstance(value, int) and is_number(value, 1, most)


def _is_shape(value: Any) -> bool:
    if not isinstance(value, list) or len(value) not in (1, 3):
        return False
    if len(value) == 1:
        return _is_size(value[0], MOST_TOKENS)
    return all(map(_is_size, value, (LARGEST_SIDE, LARGEST_SIDE, MOST_CHANNELS)))


_TEXT = Field(is_text, f"a text of at most {LONGEST_TEXT} characters, none of them a control")
_NAME = Field(is_name, "a name, without control characters")
_RATE = Field(lambda value: is_number(value, 0), "a finite number of at least 0")
_OBJECT = Field(lambda value: isinstance(value, dict), "a JSON object")
_SHAPE = Field(
    _is_shape,
    f"[height, width, channels], whole numbers of at most {LARGEST_SIDE}, {LARGEST_SIDE} and "
    f"{MOST_CHANNELS}, or of texts [length], at most {MOST_TOKENS}",
)

FIELDS: dict[str, Field] = {
    "network": _NAME,
    "width": Field(_is_width, f"a number above 0, at most {WIDEST}"),
    "stem": _TEXT,
    "classes": Field(_are_classes, "a list of names, all different, without control characters"),
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
    "options": _OBJECT,
    "tokenizer": _NAME,
    "tokenizer_file": _TEXT,
    "start": _TEXT,
    "dataset": _TEXT,
    "method": _NAME,
    "metrics": _OBJECT,
    "learning_rate": _RATE,
    "mask_learning_rate": _RATE,
    "regularization": _RATE,
    "merged": _OBJECT,
}
# names of fields and groups of arrays in files of earlier versions, and the new ones
RENAMED = {"neighbours": "neighbors", "regularisation": "regularization"}
NEEDED = ("network", "width", "classes", "mean", "std", "image_shape", "method")
NEEDED_OF_TEXTS = ("network", "width", "classes", "options", "tokenizer", "image_shape", "method")


def check(about: Mapping[str, Any], path: Path, needed: Iterable[str] = ()) -> None:
    """Raises InputError, naming file and field, for metadata that no task of ours has.

    Args:
      about: metadata by name, as `renamed` gives it; of names that are not in `FIELDS` only the
        text is checked, which must be such that UTF-8 can encode it and a line can show it.
      needed: names that must be there, such as `NEEDED`.
    """
    if missing := [name for name in needed if name not in about]:
        raise InputError(
            f"{path} has a mask but no task: its header lacks {', '.join(missing)}; "
            "give a file that the recipe 'adapt' wrote"
        )
    check_once(about, path, "the setting")
    for name, field in FIELDS.items():
        if name in about and not field.fits(about[name]):
            raise InputError(
                f"{path}: {name!r} in its metadata is {_kind(about[name])}; it must be "
                f"{field.wanted}: give the file as it was written"
            )
    for name, value in about.items():
        if (wrong := _unprintable({name: value})) is not None:
            raise InputError(
                f"{path}: {name!r} in its metadata has the text {reprlib.repr(wrong)}, with a "
                "control character or one that UTF-8 cannot encode: give the file as it was written"
            )
    with naming(path):
        check_sides(about.get("stored_shape"), about.get("image_shape"))
    if "mean" in about and "std" in about:
        with naming(path):
            check_normalization(about["mean"], about["std"])
        channels = about.get("image_shape", (len(about["mean"]),))[-1]
        if len(about["mean"]) not in (1, channels):
            raise InputError(
                f"{path}: 'mean' in its metadata has {len(about['mean'])} numbers, its images "
                f"{channels} channels: give the file as it was written"
            )


def is_of_texts(about: Mapping[str, Any]) -> bool:
    """Whether a task reads token ids, and not images."""
    shape = about.get("image_shape")
    return isinstance(shape, list) and len(shape) == 1


def check_classifies(about: Mapping[str, Any], path: Path) -> None:
    """Raises InputError for a task of predicting words, which has no classes."""
    if is_of_texts(about) and about.get("options", {}).get("mlm"):
        raise InputError(
            f"{path} predicts masked words, not classes; jaxmask masks apply writes its weights, "
            "which a run can start from"
        )


def needed(about: Mapping[str, Any]) -> tuple[str, ...]:
    """The names of what a task must have."""
    return NEEDED_OF_TEXTS if is_of_texts(about) else NEEDED


def renamed(found: Mapping[str, Any]) -> dict[str, Any]:
    """By their new names; an old name stays beside its new one, for `check_once` to refuse."""
    return {
        name if RENAMED.get(name) in found else RENAMED.get(name, name): value
        for name, value in found.items()
    }


def check_once(found: Iterable[str], path: Path, what: str) -> None:
    """Raises InputError, naming the file, if something has its old name and its new one."""
    for old, new in RENAMED.items():
        if old in found and new in found:
            raise InputError(
                f"{path} has {what} {new!r} twice, also as {old!r}: give the file as it was written"
            )


def check_sides(stored: Sequence[int] | None, image: Sequence[int] | None) -> None:
    """Raises InputError if images would be resized to far more pixels than the network needs.

    Whoever uses a task resizes images to the stored shape, then to the network's, if it is square.

    Args:
      stored, image: [height, width, ...] of the stored images and of the network's input; None
        where a file does not say.
    """
    if image and len(image) == 1:
        return  # a text
    most = min(LARGEST_SQUARE, MOST_SHRUNK * min(image[:2])) if image else LARGEST_SQUARE
    for name, shape in (("stored_shape", stored), ("image_shape", image)):
        if shape and shape[0] == shape[1] > most:
            raise InputError(
                f"{name} is {shape[0]} x {shape[1]} pixels, too large for this network: at most "
                f"{most} x {most}; train it on smaller images (data.decode_size, data.size)"
            )


def check_arrays(arrays: Mapping[str, Any], path: Path) -> None:
    """Raises InputError, naming file and leaf, for stored numbers that no network can have.

    That is, for numbers that are not finite, weights that are no floating-point numbers, and
    negative variances.

    Args:
      arrays: groups by name, as a task file or a weight file has them.
    """
    for name, leaf in tree.named_leaves(arrays).items():
        if tree.is_floating(leaf):
            with np.errstate(over="ignore"):  # a float64 may be infinite in float32
                finite = np.isfinite(np.asarray(leaf, np.float32)).all()
            if not finite:
                raise InputError(f"{path}: the array {name!r} is not finite: train the task again")
        elif name.startswith(("params/", "low_rank/")):
            raise InputError(
                f"{path}: the array {name!r} is of {leaf.dtype}, not of floating-point numbers: "
                "give the file as it was written"
            )
    weights_file.check_variances(arrays, path)


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
    wanted, have = _kinds(built), _kinds(dict(variables))
    for name in sorted(wanted.keys() | have.keys()):
        if name.startswith("params/head/") and not head:
            continue
        if wanted.get(name) != have.get(name):
            there, named = (kinds.get(name, "missing") for kinds in (have, wanted))
            raise InputError(
                f"{path}: {name!r} is {there}, and {named} in the network of its metadata "
                f"({about['network']}, width {about['width']}, {len(about['classes'])} classes, "
                f"images {about['image_shape']}): give the file as it was written"
            )


def _kinds(variables: Any) -> dict[str, str]:
    """The shape of each leaf; its dtype too if it is not of floating-point numbers, whose width
    does not matter."""
    return {
        name: str(leaf.shape) if tree.is_floating(leaf) else f"{leaf.dtype} {leaf.shape}"
        for name, leaf in tree.named_leaves(variables).items()
    }


def _unprintable(value: Any) -> str | None:
    """The first text in a JSON value that cannot be printed; line ends and tabs can be."""
    left = [value]
    while left:
        each = left.pop()
        if isinstance(each, Mapping):
            left += [*each.values(), *each]
        elif isinstance(each, list):
            left += each
        elif isinstance(each, str) and not is_text(re.sub(r"[\t\r\n]", "", each), len(each)):
            return each
    return None


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """InputErrors of the block name the file."""
    try:
        yield
    except InputError as error:
        raise error.at(str(path)) from None


def _kind(value: Any) -> str:
    names = {bool: "a truth value", str: "a text", list: "a list", dict: "an object"}
    if value is None:
        return "null"
    return f"{names.get(type(value), 'the number')} ({reprlib.repr(value)})"
