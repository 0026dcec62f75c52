"""Many tasks over one frozen network, served in one batch."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from jaxmask.errors import InputError
from jaxmask.recipe import learned, task_file

GROUP = 8  # examples of one task that are computed together


class Library(NamedTuple):
    """Tasks over one network.

    Attributes:
      names: of the tasks; a task's number is its place here.
      classes: the names of each task's classes.
      serve: (images uint8 [B, H, W, C], tasks int32 [B]) -> logits float32 [B, C], where C is the
        largest number of classes; those that a task does not have are -inf.
    """

    names: tuple[str, ...]
    classes: tuple[tuple[str, ...], ...]
    serve: Callable[[jax.Array, jax.Array], jax.Array]


def load(paths: Sequence[str | Path], base: str = "", group: int = GROUP) -> Library:
    """The tasks of mask files (or of run directories, or of a folder of mask files), as one.

    The masks lie on the device stacked, a bit of each task a weight. A batch is sorted by task
    and cut into groups of one task; each group masks the network once. All of it is one compiled
    program, which no change of tasks recompiles.

    Args:
      paths: one folder of `.mask` files, or several files or run directories.
      base: the weights that the tasks were learned over; see `learned.load`.
      group: examples of one task that are computed together.

    Raises:
      InputError: tasks of different base networks, of methods that cannot be served together, or
        that see their images differently.

    Example:
      >>> tasks = library.load("masks/", base="resnet18.pth")  # doctest: +SKIP
      >>> logits = tasks.serve(images, jnp.array([0, 2, 0, 1]))  # doctest: +SKIP
    """
    files = [learned.find(path) for path in _files(paths)]
    parts = [learned.read(file, base) for file in files]
    abouts = [each.about for each in parts]
    for file, about, part in zip(files, abouts, parts):
        if _base_of(part) != _base_of(parts[0]):
            raise InputError(
                f"{file} and {files[0]} were learned over different base networks: their "
                "fingerprints differ"
            )
        for field in ("network", "width", "stem", "mean", "std", "image_shape"):
            if about.get(field) != abouts[0].get(field):
                raise InputError(
                    f"{file} and {files[0]} differ in their {field}: they cannot be served together"
                )
        if about["method"] == "knn":
            raise InputError(f"{file} is a k-NN task; serve tasks that have a head")
    classes = tuple(tuple(about["classes"]) for about in abouts)
    count = max(len(names) for names in classes)
    shared, own = _stacked(parts, count)
    network = learned.network(abouts[0], count)

    @jax.jit  # the weights are arguments: as constants they would lie in the program once more
    def serve(shared: Any, own: Any, images: jax.Array, tasks: jax.Array) -> jax.Array:
        def logits(task: Any, images: jax.Array) -> jax.Array:
            found: Any = network.module.apply(_variables(shared, task), network.prepare(images))
            return found

        return grouped(logits, own, images, tasks, group=group, classes=count)

    return Library(tuple(map(str, files)), classes, partial(serve, shared, own))


def grouped(
    logits: Callable[[Any, jax.Array], jax.Array],
    stacked: Any,
    images: jax.Array,
    tasks: jax.Array,
    *,
    group: int,
    classes: int,
) -> jax.Array:
    """`logits(task, images)` for a batch in which every example names its task.

    Args:
      logits: (one task's tree, images [group, ...]) -> [group, classes].
      stacked: the tasks' trees, stacked along a new first axis of length T.
      images: [B, ...].
      tasks: int [B] in [0, T).
      group: examples a call.

    Returns:
      float32 [B, classes], in the order of the images.
    """
    size, number = len(tasks), len(jax.tree.leaves(stacked)[0])
    groups = size // group + min(number, size)  # as many as there can be
    counts = jnp.bincount(tasks, length=number)
    ends = jnp.cumsum(-(-counts // group))  # of each task's groups
    order = jnp.argsort(tasks, stable=True)
    rank = jnp.arange(size) - (jnp.cumsum(counts) - counts)[tasks[order]]
    begin = (ends - (-(-counts // group)))[tasks[order]]
    slot = jnp.zeros(size, jnp.int32).at[order].set((begin + rank // group) * group + rank % group)
    example = jnp.zeros(groups * group, jnp.int32).at[slot].set(jnp.arange(size))
    task = jnp.minimum(jnp.searchsorted(ends, jnp.arange(groups), side="right"), number - 1)

    def compute(index: jax.Array, rows: jax.Array) -> jax.Array:
        one = jax.tree.map(lambda leaf: leaf[index], stacked)
        return logits(one, images[rows]).astype(jnp.float32)

    def body(_: None, at: Any) -> tuple[None, jax.Array]:
        used, index, rows = at
        nothing = jnp.zeros((group, classes), jnp.float32)
        return None, jax.lax.cond(used, compute, lambda *_: nothing, index, rows)

    used = jnp.arange(groups) < ends[-1]
    _, found = jax.lax.scan(body, None, (used, task, example.reshape(groups, group)))
    return found.reshape(-1, classes)[slot]


def _files(paths: Sequence[str | Path]) -> list[Path]:
    given = [Path(path) for path in ([paths] if isinstance(paths, str | Path) else paths)]
    if len(given) == 1 and given[0].is_dir() and not (given[0] / "result.json").exists():
        given = sorted(given[0].glob("*.mask"))
    if not given:
        raise InputError(f"there is no .mask file in {paths}")
    return given


def _stacked(parts: Sequence[learned.Parts], classes: int) -> tuple[Any, Any]:
    """(leaves that all tasks share, leaves of each task stacked), both by path.

    Of a leaf that tasks mask there are the bits, and what a weight is multiplied by where the bit
    is on and where it is off; of a leaf that a task replaces or changes otherwise, all values.
    """
    shared = _flat(parts[0].base)
    tasks = [_flat(_wide(task_file.variables(*each), classes)) for each in parts]
    masks = [_flat({"params": each.file.masks}) for each in parts]
    masked = {path for each in masks for path in each}
    replaced = {
        path
        for each in parts
        for path in (
            *_flat({name: each.file.arrays.get(name, {}) for name in ("params", "batch_stats")}),
            *(
                f"params/{path.rpartition('/')[0]}"
                for path in _flat(each.file.arrays.get("low_rank", {}))
            ),
        )
    }
    bits = {}
    for path in masked - replaced:
        leaves = [each.get(path) for each in masks]
        size = shared[path].size
        bits[path] = {
            "on": np.stack(
                [
                    np.packbits(np.ones(size, bool) if leaf is None else leaf.reshape(-1) > 0)
                    for leaf in leaves
                ]
            ),
            "factors": np.array([_factors(leaf, each.about) for leaf, each in zip(leaves, parts)],
                                np.float32),
        }  # fmt: skip
    bits = jax.tree.map(jnp.asarray, bits)
    whole = {path: jnp.stack([jnp.asarray(task[path]) for task in tasks]) for path in replaced}
    return jax.tree.map(jnp.asarray, shared), {"bits": bits, "whole": whole}


def _variables(shared: dict[str, jax.Array], task: Any) -> dict[str, Any]:
    """The network's variables for one task."""
    masked = {}
    for path, leaf in task["bits"].items():
        weights = shared[path]
        on = jnp.unpackbits(leaf["on"], count=weights.size).reshape(weights.shape).astype(bool)
        masked[path] = weights * jnp.where(on, *leaf["factors"])
    flat = {**shared, **masked, **task["whole"]}
    return {"batch_stats": {}, **traverse_util.unflatten_dict(flat, sep="/")}


def _base_of(part: learned.Parts) -> str:
    return part.file.base.fingerprint if part.file.base else ""


def _factors(leaf: np.ndarray | None, about: dict[str, Any]) -> tuple[float, float]:
    """What weights are multiplied by where the mask is on, and where it is off."""
    if leaf is None:
        return 1.0, 1.0
    if leaf.dtype != bool:
        return 1.0, -1.0
    kept = np.count_nonzero(leaf)
    return (leaf.size / kept) ** 0.5 if about.get("rescale", True) and kept else 1.0, 0.0


def _wide(variables: dict[str, Any], classes: int) -> dict[str, Any]:
    """Variables with a head for so many classes; the logits of those added are -inf."""
    head = variables["params"]["head"]
    more = classes - head["kernel"].shape[-1]
    wider = {
        "kernel": jnp.pad(head["kernel"], ((0, 0), (0, more))),
        "bias": jnp.pad(head["bias"], (0, more), constant_values=-jnp.inf),
    }
    return {**variables, "params": {**variables["params"], "head": wider}}


def _flat(tree: Any) -> dict[str, Any]:
    return traverse_util.flatten_dict(tree, sep="/")
