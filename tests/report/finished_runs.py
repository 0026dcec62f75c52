"""Finished runs that nobody ran: their directories, with real masks and weights."""

import json

import numpy as np
import pandas as pd
from safetensors.numpy import save_file

from jaxmask import mask

A, B = [0.91, 0.93, 0.92, 0.95], [0.88, 0.90, 0.93]  # accuracies
SHAPES = {"fc1/kernel": (12, 10), "fc2/kernel": (10, 8), "fc10/kernel": (8, 4)}


def nested(leaves):
    tree = {}
    for path, leaf in leaves.items():
        layer, name = path.split("/")
        tree.setdefault(layer, {})[name] = leaf
    return tree


def make_run(
    folder,
    accuracy,
    method="snip",
    schedule="USS",
    target=0.5,
    seed=0,
    initial=None,
    config=None,
    shapes=SHAPES,
    files=True,
    **changes,
):
    """Writes a finished run; its masks differ between methods and seeds, its weights too."""
    folder.mkdir(parents=True)
    random = np.random.default_rng([seed, *map(ord, method + schedule)])
    masks = {path: random.random(shape) < target for path, shape in shapes.items()}
    result = {
        "recipe": "prune", "method": method, "schedule": schedule, "shots": 1, "rounds": 0,
        "network": "lenet", "dataset": "digits", "seed": seed, "target_density": target,
        "density": float(np.mean(np.concatenate([leaf.ravel() for leaf in masks.values()]))),
        "density_by_leaf": {path: float(leaf.mean()) for path, leaf in masks.items()},
        "empty_leaves": [path for path, leaf in masks.items() if not leaf.any()],
        "accuracy": accuracy, "validation_accuracy": accuracy, "mask_bits": 232,
        "storage_bytes": 64, "steps": 100, "epoch": 4, "chosen_step": 40 + 10 * seed,
        "stopped_early": True, "diverged": False, "seconds": 1.5,
        "initial": {"sha256": initial or f"weights of seed {seed}", "file": "initial.safetensors"},
        "runs": [], "versions": {"jaxmask": "0"}, **changes,
    }  # fmt: skip
    (folder / "result.json").write_text(json.dumps(result))
    fields = {"seed": seed, "train": {"epochs": 4}, "prune": {"method": method}, **(config or {})}
    (folder / "config.json").write_text(json.dumps(fields))
    if files:
        (folder / "masks").mkdir()
        mask.file.save(folder / "masks" / "ticket.mask", nested(masks))
        weights = {
            f"params/{path}": (random.normal(size=leaf.shape) * leaf).astype(np.float32)
            for path, leaf in masks.items()
        }
        save_file(weights, folder / "weights.safetensors")
    return folder


def make_dense(folder, accuracy, seed=0, **changes):
    return make_run(
        folder, accuracy, "dense", "", 1.0, seed, files=False, density_by_leaf={}, **changes
    )


def frame_of(samples, **changes):
    """The table of runs of {(method, density): accuracies by seed}."""
    rows = [
        {"method": method, "schedule": "USS", "target_density": density, "seed": seed,
         "accuracy": value, "initial_sha256": f"start {seed}", "dataset": "digits", **changes}
        for (method, density), values in samples.items()
        for seed, value in enumerate(values)
    ]  # fmt: skip
    return pd.DataFrame(rows)
