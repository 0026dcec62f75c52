"""Learned tasks made by hand, for tests: a small random network and files over it."""

import json

import jax
import numpy as np
from flax import traverse_util

from jaxmask import maskfile, model
from jaxmask.model import weights
from jaxmask.run import starting
from jaxmask.task import file as task_file

SHAPE = (8, 8, 1)


def base(folder, name="lenet_300_100", width=0.05, classes=3, seed=0):
    """Writes base weights; returns (their path, the variables)."""
    module = model.create(name, classes=classes, width=width)
    variables = jax.tree.map(
        lambda leaf: np.asarray(leaf) + np.float32(0.01),
        model.initialize(module, jax.random.key(seed), SHAPE),
    )
    path = folder / f"base{seed}.safetensors"
    weights.save(path, variables, {"network": name})
    return path, variables


def task(path, base_path, variables, classes, *, masks=None, arrays=None, head=None, **about):
    """Writes a task over base weights whose head is not theirs; returns what the network is then.

    `masks` are by path; a head for the classes is drawn from the file's name where none is given.
    """
    random = np.random.default_rng(len(str(path.name)) + len(classes))
    features = variables["params"]["head"]["kernel"].shape[0]
    head = head or {
        "kernel": random.normal(size=(features, len(classes))).astype(np.float32),
        "bias": random.normal(size=len(classes)).astype(np.float32),
    }
    arrays = traverse_util.flatten_dict(arrays or {}, sep="/")
    arrays |= {f"params/head/{name}": leaf for name, leaf in head.items()}
    metadata = {
        "network": "lenet_300_100", "width": 0.05, "stem": "", "classes": list(classes),
        "mean": [0.5], "std": [0.25], "image_shape": list(SHAPE), "stored_shape": list(SHAPE),
        "method": "mask", "start": str(base_path), "dataset": "digits", **about,
    }  # fmt: skip
    start = starting.Start(variables, str(base_path), head=True)
    masks = traverse_util.unflatten_dict(masks or {}, sep="/")
    maskfile.save(
        path,
        masks,
        metadata={name: json.dumps(value) for name, value in metadata.items()},
        arrays=traverse_util.unflatten_dict(arrays, sep="/"),
        base=maskfile.Base(metadata["network"], start.fingerprint()),
    )
    bare = {**variables, "params": {k: v for k, v in variables["params"].items() if k != "head"}}
    return task_file.restored(bare, task_file.read(path))
