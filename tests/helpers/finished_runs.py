"""Fake directories of finished runs, with real masks and weights."""

import json

import numpy as np
import pandas as pd
from safetensors.numpy import save_file

from jaxmask import mask
from jaxmask.run.result import fingerprint

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
    """Writes a finished run; masks and weights differ between methods and seeds.

    `initial` is the fingerprint of initial weights that are not written; by default they are.
    """
    folder.mkdir(parents=True)
    random = np.random.default_rng([seed, *map(ord, method + schedule)])
    arrays = initial_weights(seed, shapes)
    if files and initial is None:
        save_file(arrays, folder / "initial.safetensors")
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
        "initial": {"sha256": initial or fingerprint(arrays), "file": "initial.safetensors"},
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


def initial_weights(seed, shapes=SHAPES):
    """Those of all runs of a seed."""
    random = np.random.default_rng([seed, 99])
    return {
        f"params/{path}": (0.1 * random.normal(size=shape)).astype(np.float32)
        for path, shape in shapes.items()
    }


def make_dense(folder, accuracy, seed=0, **changes):
    return make_run(
        folder, accuracy, "dense", "", 1.0, seed, files=False, density_by_leaf={}, **changes
    )


def make_grid(folder):
    """Two methods at two densities and the dense network, three seeds each."""
    random = np.random.default_rng(0)
    for seed in range(3):
        make_dense(folder / f"dense-{seed}", 0.98 + 0.001 * seed, seed)
        for method, better in (("snip", 0.0), ("grasp(temperature=200.0)", 0.03)):
            for target in (0.5, 0.1):
                accuracy = 0.8 + 0.2 * target + better + 0.002 * random.normal()
                name = f"{method[:5]}-{target}-{seed}"
                make_run(folder / name, accuracy, method, target=target, seed=seed)
    return folder


def frame_of(samples, **changes):
    """The table of runs of {(method, density): accuracies by seed}."""
    rows = [
        {"method": method, "schedule": "USS", "target_density": density, "seed": seed,
         "accuracy": value, "initial_sha256": f"start {seed}", "dataset": "digits", **changes}
        for (method, density), values in samples.items()
        for seed, value in enumerate(values)
    ]  # fmt: skip
    return pd.DataFrame(rows)


BYTES = {"full": 70000, "mask": 5900, "mask_topk": 5800, "knn": 32000, "linear_probe": 1300}
TUNED = {"knn": "neighbors", "full": "learning_rate", "linear_probe": "regularization"}
UNTRAINED = ("knn", "linear_probe")


def make_adapt(
    folder, accuracies, seed=0, finished=True, tried=None, config=None, recipe="adapt", **changes
):
    """Writes a run of `adapt`: one directory for it, and one for each method below it.

    `accuracies` is test accuracy by method, None if the method is unfinished; `tried` the
    validation accuracy by value, of some methods; `config` changes fields: `{"mask.stages": 2}`;
    `changes` those of the methods' results.
    """
    fields = {"recipe": recipe, "seed": seed, "network.name": "lenet", "data.name": "digits",
              "data.share": 1.0, "start": "random", "grid": [], "methods": list(accuracies),
              "mask_topk.density": 0.5, "mask.stages": 0}  # fmt: skip
    for method in BYTES:
        fields |= {f"{method}.choices": [0.1], f"{method}.epochs": 4}
        if method not in UNTRAINED:
            fields[f"{method}.tune"] = TUNED.get(method, "mask_learning_rate")
    fields |= config or {}
    folder.mkdir(parents=True)
    for method, accuracy in accuracies.items():
        values = (tried or {}).get(method, {})
        mine = {**fields, "methods": [method]}
        if values:
            fields[f"{method}.choices"] = mine[f"{method}.choices"] = list(values)
        chosen = (
            max(values, key=values.get) if values else fields.get(f"{method}.choices", [0.1])[0]
        )
        result = {**_adapted(method, accuracy, seed, chosen), "recipe": recipe, **changes}
        _write(folder / method, mine, result)
        for value, validation in values.items():
            result = _adapted(method, None, seed, value)
            result["validation_accuracy"] = validation
            place = folder / method / "choices" / f"rate_{value}"
            _write(place, {**mine, f"{method}.choices": [value]}, result, always=True)
    best = {"recipe": recipe, "method": "mask", "methods": {name: {} for name in accuracies},
            "accuracy": 0.999, "seed": seed}  # fmt: skip
    _write(folder, fields, best if finished else None)
    make_run(folder / "pretrain", 0.1, "dense", files=False)
    return folder


def add_embeddings(network, features, labels, classes=()):
    """Puts embeddings of test images into the folder of a network."""
    arrays = {"features": np.asarray(features, np.float32), "labels": np.asarray(labels, np.int32)}
    save_file(arrays, network / "embeddings.safetensors", {"classes": json.dumps(list(classes))})


def add_router(run, clusters, labels):
    """Puts the clusters of training images into the folder of a cascade."""
    arrays = {"clusters": np.asarray(clusters, np.int32), "labels": np.asarray(labels, np.int32)}
    save_file(arrays, run / "router.safetensors")


def add_losses(folder, losses):
    """Writes the training loss of each epoch, and a validation loss that is another."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [
        {"step": 8 * epoch, "epoch": epoch, "split": split, "loss": loss + more if loss else None}
        for epoch, loss in enumerate(losses, 1)
        for split, more in (("train", 0), ("validation", 9))
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def add_mask(folder, shapes):
    """Puts the file of a learned task with masks of these shapes into a method's folder."""
    (folder / "masks").mkdir()
    masks = nested({path: np.ones(shape, bool) for path, shape in shapes.items()})
    mask.file.save(folder / "masks" / "task.mask", masks)


def _adapted(method, accuracy, seed, value):
    masked = method.startswith("mask")
    leaves = {"fc1/kernel": 0.4, "fc2/kernel": 0.6} if masked else {}
    return {
        "recipe": "adapt", "method": method, "dataset": "digits", "network": "lenet",
        "seed": seed, "accuracy": accuracy, "validation_accuracy": accuracy,
        "density": 0.5 if masked else 1.0, "density_by_leaf": leaves,
        "mask_bits": 200 * masked, "storage_bytes": BYTES.get(method, 0) + seed,
        "trained_numbers": 1234, TUNED.get(method, "mask_learning_rate"): value,
        "diverged": False, "seconds": 1.5, "choices": [], "runs": [],
    }  # fmt: skip


def _write(folder, fields, result, always=False):
    folder.mkdir(parents=True, exist_ok=True)
    config = {}
    for name, value in fields.items():
        place = config
        *sections, last = name.split(".")
        for section in sections:
            place = place.setdefault(section, {})
        place[last] = value
    (folder / "config.json").write_text(json.dumps(config))
    if result and (always or result["accuracy"] is not None):
        (folder / "result.json").write_text(json.dumps(result))
