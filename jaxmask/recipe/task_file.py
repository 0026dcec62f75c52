"""A learned task as one file: its mask, and all else that it needs beside the base network."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from flax import traverse_util
from ml_collections import ConfigDict

from jaxmask import mask
from jaxmask.errors import InputError
from jaxmask.recipe import setup, starting

Tree = Mapping[str, Any]


def save(
    path: Path,
    masks: Any,
    arrays: Tree,
    task: setup.Task,
    config: ConfigDict,
    start: starting.Start,
    about: Mapping[str, Any],
) -> int:
    """Writes a `.mask` file; returns its bytes.

    Args:
      masks: a tree of masks by path of the parameters, empty for a method that learns none.
      arrays: see `mask.restore`; leaves that are None are left out.
      start: the base network, whose fingerprint goes into the header.
      about: more for the header's metadata, such as the method's settings and its metrics.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    network = {**setup.about_network(config.network, task), "start": config.start}
    metadata = {**network, "dataset": task.dataset.name, **about}
    flat = {
        name: np.asarray(leaf)
        for name, leaf in traverse_util.flatten_dict(dict(arrays), sep="/").items()
        if leaf is not None
    }
    mask.file.save(
        path,
        masks,
        metadata={name: json.dumps(value) for name, value in metadata.items()},
        arrays=traverse_util.unflatten_dict(flat, sep="/"),
        base=mask.file.Base(config.network.name, fingerprint(start)),
    )
    return path.stat().st_size


def fingerprint(start: starting.Start) -> str:
    """Of a base network: all its weights, without a head that is no part of it."""
    weights = start.weights or {}
    parameters = dict(weights.get("params", {}))
    if not start.head_in_base:
        parameters.pop("head", None)
    statistics = weights.get("batch_stats", {})
    return mask.file.fingerprint({"params": parameters, "batch_stats": statistics})


def about(metadata: Mapping[str, str], path: str | Path) -> dict[str, Any]:
    """What the header's metadata of a mask file that `save` wrote says of its task, by name.

    Raises:
      InputError: the file has not what a task has.
    """
    try:
        found = {name: json.loads(text) for name, text in metadata.items()}
    except ValueError:
        found = {}
    if not {"network", "width", "classes", "mean", "std", "method"} <= found.keys():
        raise InputError(
            f"{path} has a mask and no task with it: its header names no network, classes and "
            "normalization; give a file that the recipe 'adapt' wrote"
        )
    return found


def variables(base: Tree, file: Any, about: Mapping[str, Any]) -> dict[str, Any]:
    """The base network's variables with a task's mask and arrays on them."""
    return mask.restore(
        base,
        file.masks,
        file.arrays,
        rescale=bool(about.get("rescale", True)),
        low_rank_scale=float(about.get("low_rank_scale", 1.0)),
    )
