"""The weights that an experiment starts from, and checks that they fit its task."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging
from flax import traverse_util
from ml_collections import ConfigDict

from jaxmask import maskfile, model, signals, tree
from jaxmask.errors import InputError, is_text, nearest
from jaxmask.model import bert, checkpoint, pretrained, transformer
from jaxmask.model import weights as weights_file
from jaxmask.run import task as tasks
from jaxmask.run import texts
from jaxmask.run.programs import shared
from jaxmask.run.seeds import named_key

HEADS = ("start", "new")  # of `prune` and `lottery`


class Start(NamedTuple):
    """Starting weights.

    Attributes:
      weights: nested dict of "params" and "batch_stats"; None initializes everything.
      source: their origin, for error messages.
      head: whether their head is for this task, and not replaced by a new one.
      head_in_base: whether it is part of the base network, and not stored with the task.
    """

    weights: dict[str, Any] | None
    source: str
    head: bool = False
    head_in_base: bool = False

    def fingerprint(self) -> str:
        """Of the base network: all its weights, without a head that is not part of it."""
        weights = self.weights or {}
        parameters = dict(weights.get("params", {}))
        if not self.head_in_base:
            parameters.pop("head", None)
        statistics = weights.get("batch_stats", {})
        return maskfile.fingerprint({"params": parameters, "batch_stats": statistics})


def task_of(config: ConfigDict) -> tuple[tasks.Task, Start]:
    """A config's task and starting weights; equal tasks in a grid are built once.

    Raises:
      InputError: data, network or weights are not available, or do not fit each other.
    """
    head = config.get("head", HEADS[0])
    if head not in HEADS:
        raise InputError(f"head is {head!r}{nearest(str(head), HEADS)}")
    start, about = load_start(
        config.start, config.network, pixels(config.data), texts.of_words(config.data)
    )
    if start.weights is not None and head == "start":
        start = start._replace(head=True, head_in_base=True)
    normalized = {key: about.get(key) for key in ("mean", "std", "unsettled", "options")}
    sections = [config.data.to_dict(), config.network.to_dict(), config.seed, normalized]

    def build() -> tasks.Task:
        dataset = tasks.dataset_of(config, about)
        normalization = tasks.normalization_of(config.data, dataset, about)
        options = about.get("options", {})
        return tasks.make_task(config.data, config.network, dataset, normalization, options)

    task = shared("task", json.dumps(sections), build)
    start = for_images(start, task)
    if start.weights is not None and head == HEADS[0] and not start.head:
        raise InputError(f"the weights of {start.source} have no head: set head to 'new'")
    check_fits(task, start)
    return task, start


def load_start(
    start: str, network: ConfigDict, size: int = 0, words: bool = False
) -> tuple[Start, dict[str, Any]]:
    """The weights of a config's `start`, and their metadata.

    Args:
      start: "random", a run directory, a weight file with this package's names or PyTorch's
        (see `model.pretrained.load`), "hub:owner/name", or "package:name".
      network: the network section of the config.
      size: the side in pixels of the input images, for networks whose weights depend on it; 0 is
        the side that they were made for.
      words: whether the head for words is needed, of a network of texts.
    """
    if start == "random":
        return Start(None, start), {}
    if not start:
        raise InputError(
            "this config needs starting weights: give --config.start=PATH, a file or the run "
            "directory of a training"
        )
    if not is_text(start):
        raise InputError(f"start is {start!r}, a path that files cannot name; rename it")
    if checkpoint.is_path(start) and not os.path.exists(start):
        raise InputError(
            f"there are no weights at {start}; give a finished run directory of the recipe "
            "'dense', a file of weights, hub:owner/name, or package:name"
        )
    about: dict[str, Any]
    if _ours(start):
        weights, about = weights_file.load(Path(start))
    else:
        weights, about = pretrained.load(
            start, network.name, width=network.width, stem=network.stem, size=size or None,
            **texts.asked(network), **({"mlm": True} if words else {}),
        )  # fmt: skip
        about = {name: value for name, value in about.items() if value is not None}
    for name, leaf in traverse_util.flatten_dict(weights, sep="/").items():
        if not np.isfinite(leaf).all():
            raise InputError(f"the weights of {start} are not finite in {name}; give other weights")
    return Start(weights, start), about


def for_images(start: Start, task: tasks.Task) -> Start:
    """The weights as the task's network has them.

    Learned positions, if any, are interpolated to the task's images; what a network of texts has
    for another use, a pooler or a head of another kind, is left out.
    """
    if start.weights is None:
        return start
    if task.dataset.tokenizer is not None:
        return _for_texts(start, task)
    patch = getattr(task.module, "patch", 0)
    if not isinstance(patch, int) or not patch:
        return start
    params, done = transformer.fitted(start.weights["params"], task.image_shape, patch)
    if done:
        logging.warning("%s: %s", start.source, done)
    return start._replace(weights={**start.weights, "params": params})


def _for_texts(start: Start, task: tasks.Task) -> Start:
    module: Any = task.module
    assert start.weights is not None
    if not isinstance(module, bert.Bert):
        return start
    params, gone = bert.without_unused(start.weights["params"], module.pool, module.mlm)
    if gone:
        logging.warning("%s: leaves out %s", start.source, ", ".join(gone))
    # a new head for every task, but the words stay the same
    own = (start.head or module.mlm) and "head" in params
    weights = {**start.weights, "params": params}
    return start._replace(weights=weights, head=own, head_in_base=start.head_in_base and own)


def pixels(config: ConfigDict) -> int:
    """The side of the input images, if a data section sets it, else 0."""
    return config.size or config.decode_size


def with_text_head(start: Start, classes: Sequence[str], prompt: str) -> Start:
    """The weights with a head of the class names, embedded by CLIP's text tower.

    Raises:
      InputError: the weights are not from a CLIP checkpoint with its text tower and tokenizer.
    """
    if start.weights is None or _ours(start.source):
        raise InputError(
            f"head is 'text', which takes a CLIP checkpoint with its tokenizer; {start.source} is "
            "not one"
        )
    parameters = dict(start.weights["params"])
    parameters["head"] = pretrained.text_head(start.source, classes, prompt)
    return Start({**start.weights, "params": parameters}, start.source, head=True)


def _ours(start: str) -> bool:
    """Whether `start` is a run directory, or a file with this package's names."""
    if not checkpoint.is_path(start):
        return False
    path = Path(start)
    if path.is_dir():
        return not any(
            (path / name).exists() for name in ("model.safetensors", "pytorch_model.bin")
        )
    return pretrained.is_ours(start)


def starting_variables(task: tasks.Task, start: Start, key: jax.Array) -> dict[str, Any]:
    """The network's variables: all but the head from `start`, the head initialized from `key`.

    Raises:
      InputError: arrays are missing, unknown, or of another shape.
    """
    signals.obey()
    fresh = model.initialize(task.module, key, task.image_shape)
    if start.weights is None:
        return fresh
    given = traverse_util.flatten_dict(given_variables(task, start), sep="/")
    flat = {
        name: given.get(name, leaf)
        for name, leaf in traverse_util.flatten_dict(fresh, sep="/").items()
    }
    return {"batch_stats": {}, **traverse_util.unflatten_dict(flat, sep="/")}


def given_variables(task: tasks.Task, start: Start) -> dict[str, Any]:
    """What `starting_variables` takes from `start.weights`: all but a new head.

    Raises:
      InputError: arrays are missing, unknown, or of another shape.
    """
    check_fits(task, start)
    assert start.weights is not None
    have = traverse_util.flatten_dict(start.weights, sep="/")
    flat = {
        name: jnp.asarray(have[name], leaf.dtype)
        for name, leaf in traverse_util.flatten_dict(tasks.shapes(task), sep="/").items()
        if start.head or not _is_head(name)
    }
    return {"batch_stats": {}, **traverse_util.unflatten_dict(flat, sep="/")}


def random_weights(task: tasks.Task, seed: int) -> dict[str, Any]:
    """A random network for the task, including its head: the same for every method."""
    return model.initialize(task.module, named_key(seed, "start"), task.image_shape)


def body_fingerprint(variables: dict[str, Any]) -> str:
    """Of a network without its head, as mask files name the network that they are for."""
    return Start(variables, "").fingerprint()


def check_fits(task: tasks.Task, start: Start) -> None:
    """Raises InputError if arrays are missing, unknown, of another shape, or no real numbers."""
    if start.weights is None:
        return
    have = traverse_util.flatten_dict(start.weights, sep="/")
    want = traverse_util.flatten_dict(tasks.shapes(task), sep="/")
    body = {name for name in want if start.head or not _is_head(name)}
    missing = sorted(body - have.keys())
    extra = sorted(have.keys() - want.keys())
    both = body & have.keys()
    other = sorted(
        f"{name} {have[name].shape} instead of {want[name].shape}"
        for name in both
        if have[name].shape != want[name].shape
    ) + sorted(
        f"{name} of {have[name].dtype} instead of {want[name].dtype}"
        for name in both
        if tree.is_floating(have[name]) != tree.is_floating(want[name])
    )
    for what, names in (("lack", missing), ("also have", extra), ("have", other)):
        if names:
            listed = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if names[4:] else "")
            of_head = start.head_in_base and all(map(_is_head, names))
            raise InputError(
                f"the weights of {start.source} do not fit the network: they {what} {listed}"
                + "; --config.head=new gives the task a head of its own" * of_head
            )


def _is_head(name: str) -> bool:
    return name.startswith("params/head/")
