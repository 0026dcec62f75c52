"""A learned task as one file: its masks, and all else that it needs besides the base network."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxmask import maskfile, tree
from jaxmask.adapter import KNOWN, Adapter, Stored
from jaxmask.errors import InputError, nearest
from jaxmask.task import schema

Tree = Any
Adapters = Mapping[str, Adapter]

# metadata that every task has; the rest are settings of its method
OF_TASKS = ("network", "width", "stem", "classes", "mean", "std", "image_shape", "stored_shape",
            "options", "tokenizer", "tokenizer_file", "start", "dataset", "method", "metrics",
            "learning_rate", "mask_learning_rate", "regularization", "merged")  # fmt: skip
DEEPEST = 20  # nesting of JSON in metadata


class TaskFile(NamedTuple):
    """A task, not yet applied to its base network.

    Attributes:
      path: of the file.
      stored: the input of the adapter's `restore`.
      batch_stats: the task's own, a nested dict.
      about: metadata, by name.
      base: the name and fingerprint of its base network.
      signs: whether its masks are of signs.
    """

    path: Path
    stored: Stored
    batch_stats: Tree
    about: dict[str, Any]
    base: maskfile.Base | None
    signs: bool


def save(
    path: Path,
    stored: Stored,
    *,
    batch_stats: Tree,
    new: Tree,
    base: maskfile.Base,
    about: Mapping[str, Any],
) -> int:
    """Writes a `.mask` file; returns its size in bytes.

    Args:
      stored: from the adapter's `store`.
      batch_stats: the network's, after training.
      new: parameters that the base network lacks, such as a new head, as they were before
        training; those that `stored` replaces are not stored twice.
      base: the base network of the task.
      about: JSON values by name for the header: the network, its classes, the method.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = {name: tree.named_leaves(part) for name, part in stored.arrays.items()}
    arrays["params"] = {**tree.named_leaves(new), **arrays.get("params", {})}
    arrays["batch_stats"] = tree.named_leaves(batch_stats)
    maskfile.save(
        path,
        stored.masks,
        metadata={name: json.dumps(value) for name, value in {**about, **stored.settings}.items()},
        arrays=tree.nested(
            {
                f"{name}/{leaf}": np.asarray(array)
                for name, part in arrays.items()
                for leaf, array in part.items()
            }
        ),
        base=base,
    )
    return path.stat().st_size


def read(path: Path, weights: Tree = None) -> TaskFile:
    """Reads a task's file.

    Args:
      weights: the base network's parameters, for masks that are coded given them.

    Raises:
      InputError: it is not a task file, is damaged, or its metadata are not those of a task.
    """
    file = maskfile.read(path, weights=weights)
    about = metadata(file.metadata)
    schema.check(about, path)
    arrays = schema.renamed(file.arrays)
    schema.check_once(arrays, path, "the arrays")
    schema.check_arrays(arrays, path)
    statistics = arrays.pop("batch_stats", {})
    settings = {name: value for name, value in about.items() if name not in OF_TASKS}
    if file.kind == "sign":
        settings["rescale"] = False  # not every earlier file says so
    return TaskFile(
        path, Stored(file.masks, arrays, settings), statistics, about, file.base,
        file.kind == "sign",
    )  # fmt: skip


def metadata(texts: Mapping[str, str]) -> dict[str, Any]:
    """A file's metadata: JSON is parsed; other text, or JSON nested deeply, is kept.

    A number that is not finite becomes None, as JSON has none.
    """
    found: dict[str, Any] = {}
    for name, text in texts.items():
        try:
            value = json.loads(text, parse_constant=_finite, parse_float=_finite)
            value = text if _depth(value) > DEEPEST else value
        except (ValueError, RecursionError):
            value = text
        found[name] = value
    return schema.renamed(found)


def _finite(text: str) -> float | None:
    """A number of JSON, which may be NaN (a loss), Infinity or 1e999."""
    return number if math.isfinite(number := float(text)) else None


def _depth(value: Any) -> int:
    """How deeply JSON is nested; without recursion."""
    depth, level = 0, [value]
    while level := [each for each in level if isinstance(each, dict | list)]:
        depth += 1
        lists = (each.values() if isinstance(each, dict) else each for each in level)
        level = [inner for values in lists for inner in values]
    return depth


def restored(base: Mapping[str, Tree], file: TaskFile, adapters: Adapters = KNOWN) -> Tree:
    """The base network's variables with the task applied.

    Args:
      base: {"params", "batch_stats"}, trees of any containers, which the result has too. What only
        the task has, such as a head, needs dicts to be added to.
      adapters: those that a file may name; nothing that a file names is imported.

    Raises:
      InputError: the file's adapter is not one of them, or does not fit the network.
    """
    return put_on(base, file, adapter_of(file, adapters))


def put_on(base: Mapping[str, Tree], file: TaskFile, adapter: Adapter) -> Tree:
    """`restored` with a given adapter; traceable."""
    before = base.get("batch_stats", {})
    have, given = tree.paths(before), tree.named_leaves(file.batch_stats)
    known = tree.nested({path: leaf for path, leaf in given.items() if path in have})
    replaced = tree.replaced(before, known, "the batch statistics")
    for path, leaf in tree.named_leaves(before).items():
        if path in given and tree.is_floating(leaf) and not tree.is_floating(given[path]):
            raise InputError(
                f"{file.path}: the array 'batch_stats/{path}' is of {given[path].dtype}, not of "
                "floating-point numbers: give the file as it was written"
            )
    statistics = _with_more(replaced, file.batch_stats)
    params = complete(base["params"], file.stored)
    try:
        restored = adapter.restore(params, file.stored)
    except Exception as error:  # the adapter may be the user's own, and its settings anything
        reason = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
        raise InputError(f"{file.path} cannot be restored: {reason}") from error
    return {"params": restored, "batch_stats": statistics}


def adapter_of(file: TaskFile, adapters: Adapters) -> Adapter:
    """The adapter that a file names; without a name, as in merged files, that of masks."""
    name = file.about.get("method", "mask")
    if name not in adapters:
        raise InputError(
            f"{file.path} was learned with the adapter {name!r}, which is not known here"
            f"{nearest(str(name), adapters)}; pass it: adapters={{{str(name)!r}: ...}}"
        )
    return adapters[name]


def complete(params: Tree, stored: Stored) -> Tree:
    """The base network's parameters in their own containers, and those that only the task has."""
    return _with_more(params, stored.arrays.get("params", {}))


def _with_more(own: Tree, other: Tree) -> Tree:
    """A tree, and the leaves of another whose paths it lacks, which are added to its dicts."""
    have = tree.paths(own)
    more = {path: leaf for path, leaf in tree.named_leaves(other).items() if path not in have}

    def added(node: Any, new: dict[str, Any]) -> Any:
        if not isinstance(node, Mapping):
            raise InputError(
                f"the base network has no place for {next(iter(more))!r}, which the task stores; "
                "give that network's own weights"
            )
        parts = {
            name: added(node[name], part) if name in node else part for name, part in new.items()
        }
        return type(node)({**node, **parts})  # type: ignore[call-arg]

    return added(own, tree.nested(more)) if more else own
