"""Multi-task serving: many tasks over one frozen network, in one batch."""

from collections.abc import Callable, Hashable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxmask import model, tree
from jaxmask.adapter import KNOWN, Adapter, Stored
from jaxmask.convolution import fast
from jaxmask.errors import InputError
from jaxmask.task import file as task_file
from jaxmask.task import learned, schema

GROUP = 8  # examples of one task to compute together


class Library(NamedTuple):
    """Tasks over one network.

    Attributes:
      names: of the tasks; a task's number is its index here.
      classes: the names of each task's classes.
      serve: (images uint8 [B, H, W, C] or token ids int32 [B, L], tasks int32 [B]) -> logits
        float32 [B, C], where C is the largest number of classes; logits of classes that a task
        lacks are -inf.
    """

    names: tuple[str, ...]
    classes: tuple[tuple[str, ...], ...]
    serve: Callable[[jax.Array, jax.Array], jax.Array]


class Kind(NamedTuple):
    """Tasks that one program restores: same adapter, settings, trees and shapes.

    Attributes:
      adapter: restores them.
      settings: of all its tasks.
      shapes: of the masks, by path; `signs`: whether they are of signs.
      classes: number of classes of the head.
      tasks: their numbers.
    """

    adapter: Adapter
    settings: dict[str, Any]
    shapes: dict[str, tuple[int, ...]]
    signs: bool
    classes: int
    tasks: list[int]


def load(
    paths: Sequence[str | Path],
    base: str = "",
    group: int = GROUP,
    adapters: task_file.Adapters = KNOWN,
    network: str = "",
) -> Library:
    """Loads mask files, run directories, or a folder of mask files as one library.

    The tasks' content is stacked on the device, masks as bits. A batch is sorted by task and split
    into groups of one task; for each group, the task's adapter restores the network once. This is
    one compiled program, and other tasks in a batch do not recompile it.

    Args:
      paths: one folder of `.mask` files, or several files or run directories.
      base: the base weights of the tasks; see `learned.load`.
      group: examples of one task to compute together.
      adapters, network: as for `learned.load`.

    Raises:
      InputError: tasks have different base networks, methods that cannot be served together, or
        different preprocessing.

    Example:
      >>> tasks = library.load("masks/", base="resnet18.pth")  # doctest: +SKIP
      >>> logits = tasks.serve(images, jnp.array([0, 2, 0, 1]))  # doctest: +SKIP
    """
    parts = [learned.read(learned.find(path), base) for path in _files(paths)]
    tasks = [part.file for part in parts]
    for task in tasks:
        _check_alike(task, tasks[0])
    for part in parts:
        schema.check_classifies(part.file.about, part.file.path)
        adapter = task_file.adapter_of(part.file, adapters)
        with schema.naming(part.file.path):
            module, _ = learned.pipeline(part.file.about, len(part.file.about["classes"]), network)
        restored = jax.eval_shape(partial(task_file.put_on, part.base, part.file, adapter))
        schema.check_network(part.file.about, restored, module, part.file.path)
    classes = tuple(tuple(task.about["classes"]) for task in tasks)
    count = max(map(len, classes))
    found, stacked = kinds([_wide(task, count) for task in tasks], adapters)
    pipelines = [learned.pipeline(tasks[0].about, kind.classes, network) for kind in found]
    place = {task: (k, i) for k, kind in enumerate(found) for i, task in enumerate(kind.tasks)}
    kind_of, index_of = (
        jnp.array(column) for column in zip(*(place[task] for task in range(len(tasks))))
    )
    shared = jax.tree.map(jnp.asarray, parts[0].base)

    @jax.jit  # the weights are arguments: constants would be copied into the program
    def serve(shared: Any, stacked: Any, images: jax.Array, numbers: jax.Array) -> jax.Array:
        def logits_of(kind: int) -> Callable[..., jax.Array]:
            @fast
            def logits(index: jax.Array, images: jax.Array) -> jax.Array:
                one = jax.tree.map(lambda leaf: leaf[index], stacked[kind])
                module, prepare = pipelines[kind]
                given = variables(found[kind], shared, one)
                own: Any = module.apply(given, prepare(images), **model.mode(module, False))
                more = count - found[kind].classes
                return jnp.pad(own, ((0, 0), (0, more)), constant_values=-jnp.inf)

            return logits

        def logits(number: jax.Array, images: jax.Array) -> jax.Array:
            branches = [logits_of(kind) for kind in range(len(found))]
            return jax.lax.switch(kind_of[number], branches, index_of[number], images)

        each = jnp.arange(len(tasks))
        return grouped(logits, each, images, numbers, group=group, classes=count)

    names = tuple(str(task.path) for task in tasks)
    return Library(names, classes, partial(serve, shared, stacked))


def grouped(
    logits: Callable[[Any, jax.Array], jax.Array],
    stacked: Any,
    images: jax.Array,
    tasks: jax.Array,
    *,
    group: int,
    classes: int,
) -> jax.Array:
    """`logits(task, images)` for a batch in which every example has its own task.

    Args:
      logits: (one task's tree, images [group, ...]) -> [group, classes].
      stacked: the tasks' trees, stacked along a new first axis of length T.
      images: [B, ...].
      tasks: int [B] in [0, T).
      group: examples per call.

    Returns:
      float32 [B, classes], in the order of the images.
    """
    size, number = len(tasks), len(jax.tree.leaves(stacked)[0])
    groups = size // group + min(number, size)  # the most possible
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
        raise InputError(f"there is no .mask file in {paths}; give one, or a folder of them")
    return given


def _check_alike(task: task_file.TaskFile, first: task_file.TaskFile) -> None:
    """Raises InputError unless two tasks can be served together."""
    prints = [each.base.fingerprint if each.base else "" for each in (task, first)]
    if prints[0] != prints[1]:
        raise InputError(
            f"{task.path} and {first.path} have different base networks: their fingerprints "
            "differ; serve tasks of one"
        )
    for field in ("network", "width", "stem", "mean", "std", "image_shape", "options",
                  "tokenizer"):  # fmt: skip
        if task.about.get(field) != first.about.get(field):
            raise InputError(
                f"{task.path} and {first.path} differ in their {field}: serve them apart"
            )
    if learned.classifier_of(task.about) is not None or learned.is_cascade(task.about):
        method = task.about["method"]
        raise InputError(f"{task.path} is a task of {method!r}; serve tasks that have a head")


def kinds(
    tasks: Sequence[task_file.TaskFile], adapters: task_file.Adapters
) -> tuple[list[Kind], list[Any]]:
    """The kinds of tasks, and the stacked content of each kind."""
    found: dict[Hashable, Kind] = {}
    packed: dict[Hashable, list[Any]] = {}
    for number, task in enumerate(tasks):
        adapter = task_file.adapter_of(task, adapters)
        shapes = {
            path: np.shape(leaf) for path, leaf in tree.named_leaves(task.stored.masks).items()
        }
        content = _packed(task)
        described = jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype.name), content)
        key = (id(adapter), repr((sorted(task.stored.settings.items()), shapes, task.signs,
                                  described)))  # fmt: skip
        if key not in found:
            classes = len(task.about["classes"])
            found[key] = Kind(adapter, task.stored.settings, shapes, task.signs, classes, [])
        found[key].tasks.append(number)
        packed.setdefault(key, []).append(content)
    stacked = [jax.tree.map(lambda *leaves: jnp.stack(leaves), *packed[key]) for key in found]
    return list(found.values()), stacked


def _packed(task: task_file.TaskFile) -> dict[str, Any]:
    """A task's content by path, with masks as bits."""
    masks = tree.named_leaves(task.stored.masks)
    return {
        "bits": {
            path: np.packbits(np.asarray(leaf).reshape(-1) > 0) for path, leaf in masks.items()
        },
        "arrays": jax.tree.map(np.asarray, task.stored.arrays),
        "batch_stats": jax.tree.map(np.asarray, task.batch_stats),
    }


def variables(kind: Kind, shared: Any, one: Any) -> dict[str, Any]:
    """The network's variables for one task of a kind."""
    masks = {}
    for path, shape in kind.shapes.items():
        bits = jnp.unpackbits(one["bits"][path], count=int(np.prod(shape))).reshape(shape)
        masks[path] = jnp.where(bits, 1, -1) if kind.signs else bits.astype(bool)
    stored = Stored(tree.nested(masks), one["arrays"], kind.settings)
    task = task_file.TaskFile(Path(), stored, one["batch_stats"], {}, None, kind.signs)
    return task_file.put_on(shared, task, kind.adapter)


def _wide(task: task_file.TaskFile, classes: int) -> task_file.TaskFile:
    """The task with its head padded to `classes`, if it stores one as "params/head".

    The logits of the added classes are -inf. Tasks with different numbers of classes then have
    equal shapes, and so one program.
    """
    parameters = task.stored.arrays.get("params", {})
    head = parameters.get("head", {})
    masked = any(path.startswith("head/") for path in tree.named_leaves(task.stored.masks))
    if set(head) != {"kernel", "bias"} or masked:
        return task
    more = classes - head["kernel"].shape[-1]
    wider = {
        "kernel": np.pad(head["kernel"], ((0, 0), (0, more))),
        "bias": np.pad(head["bias"], (0, more), constant_values=-np.inf),
    }
    arrays = {**task.stored.arrays, "params": {**parameters, "head": wider}}
    names = [*task.about["classes"], *[""] * more]
    return task._replace(
        stored=task.stored._replace(arrays=arrays), about={**task.about, "classes": names}
    )
