"""A ticket: weights, and the mask of those that are left. Trained, tested, written down."""

import hashlib
import json
import os
from collections.abc import Generator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from jaxmask import mask, report, tree
from jaxmask.errors import InputError
from jaxmask.recipe import run_directory, setup, starting
from jaxmask.recipe.trainer import Prepared, Trainer, Training
from jaxmask.train import loop
from jaxmask.train.records import Records
from jaxmask.train.state import State

Variables = dict[str, Any]


class Initial(NamedTuple):
    """The weights that an experiment starts from.

    Attributes:
      variables: "params" and "batch_stats".
      path: of the file that holds them.
      sha256: their fingerprint; runs of equal ones started from the same weights.
    """

    variables: Variables
    path: Path
    sha256: str

    def about(self, folder: Path) -> dict[str, str]:
        """What `result.json` in a run directory says of them."""
        return {"file": os.path.relpath(self.path, folder), "sha256": self.sha256}


def initial_weights(
    task: setup.Task, start: starting.Start, config: ConfigDict, folder: Path, shared: Path | None
) -> Initial:
    """The starting weights of the config's seed, stored once for all runs that share them.

    They lie in `shared`, by network and seed, or else in the run directory itself.

    Raises:
      InputError: the file cannot be read, or holds weights of another network.
    """
    name = "initial.safetensors"
    if shared is not None:
        network = {**config.network.to_dict(), "compute_dtype": ""}
        drawn = "" if start.weights is None else fingerprint(start.weights)
        made_of = [network, len(task.dataset.classes), task.image_shape, drawn]
        digest = hashlib.sha256(json.dumps(made_of).encode()).hexdigest()[:12]
        name = f"{config.network.name}-{digest}-seed{config.seed}.safetensors"
    path = (shared or folder) / name
    if not path.exists():
        variables = starting.starting_variables(task, start, setup.named_key(config.seed, "start"))
        path.parent.mkdir(parents=True, exist_ok=True)
        run_directory.save_weights(path, variables, setup.about_network(config.network, task))
    try:
        weights, _ = run_directory.load_weights(path)
        weights = {"batch_stats": {}, **weights}
        starting.check_fits(task, starting.Start(weights, str(path), head=True))
    except InputError as error:
        raise InputError(f"{error}; delete it, and the same command makes it anew") from None
    # in the order of the network's own trees, for which programs are compiled
    like = setup.shapes(task)
    leaves = tree.align(like, weights, str(path))
    variables = jax.tree.unflatten(jax.tree.structure(like), [jnp.asarray(x) for x in leaves])
    return Initial(variables, path, fingerprint(weights))


def fingerprint(variables: Variables) -> str:
    """SHA-256 of all arrays with their names, shapes and dtypes; not of a file, whose header may
    tell the same in another order."""
    digest = hashlib.sha256()
    for name, leaf in sorted(tree.named_leaves(variables).items()):
        array = np.ascontiguousarray(leaf)
        digest.update(f"{name} {array.dtype.str} {array.shape} ".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def prepared(variables: Variables, labels: Any, masks: Any) -> Prepared:
    """What training needs: weights with zeros where they are pruned, and the mask that keeps
    them so. Labels: "mask" (pruned), "train" (whole), "freeze"."""
    parts = tree.partition(variables["params"], labels)
    holes = jax.tree.map(lambda _: None, variables["params"])
    learned = tree.combine(mask.pruned(masks, parts["mask"]), parts["train"])
    return Prepared(
        {"mask": holes, "train": learned},
        {"mask": holes, "freeze": parts["freeze"], "kept": masks},
        variables["batch_stats"],
    )


def store_mask(folder: Path, masks: Any, metadata: dict[str, str]) -> Path:
    """Writes `masks/ticket.mask` of a run directory."""
    path = folder / "masks" / "ticket.mask"
    path.parent.mkdir(parents=True, exist_ok=True)
    mask.file.save(path, jax.tree.map(np.asarray, masks), metadata=metadata)
    return path


def stored_mask(folder: Path, like: Any) -> Any | None:
    """The mask that an interrupted run has chosen already, or None."""
    path = folder / "masks" / "ticket.mask"
    if not path.exists():
        return None
    try:
        return jax.tree.map(jnp.asarray, mask.file.load(path, like))
    except InputError as error:
        raise InputError(f"{error} (or delete it: the same command makes it anew)") from None


def train(
    trainer: Trainer,
    ready: Prepared,
    folder: Path,
    title: str,
    keep: loop.Keep | None = None,
    state: State | None = None,
) -> Generator[Training, loop.Fit, loop.Fit]:
    """Trains a ticket in its run directory.

    Raises:
      InputError: the loss was never finite.
    """
    fit = yield trainer.job(ready, {}, "ticket", folder, title, keep, state)
    if fit.epoch == 0:
        raise InputError(
            f"{folder}: the loss is not finite after {fit.steps} steps; lower "
            "train.learning_rate or set train.clip, and give another --workdir"
        )
    return fit


def write(
    task: setup.Task,
    trainer: Trainer,
    config: ConfigDict,
    folder: Path,
    ready: Prepared,
    fit: loop.Fit,
    result: dict[str, Any],
) -> dict[str, Any]:
    """Reads the test split once, writes weights, figures and the result of a trained ticket."""
    test = trainer.test(fit, ready.frozen)
    with Records(folder, fit.steps) as records:
        records.write(fit.steps, fit.epoch, "test", **test)
    size = save_trained(task, config, folder, ready, fit)
    result = {
        **result,
        "accuracy": test["accuracy"],
        "loss": test["loss"],
        "validation_accuracy": fit.validation.get("accuracy"),
        "validation_loss": fit.validation.get("loss"),
        "storage_bytes": size + (folder / "masks" / "ticket.mask").stat().st_size,
        "trained_numbers": _trained_numbers(ready),
        "epoch": fit.epoch,
        "chosen_step": fit.epoch * trainer.steps_per_epoch,
        "stopped_early": fit.stopped_early,
        "diverged": fit.diverged,
        "steps": fit.steps,
        "seconds": fit.seconds,
        "waited": fit.waited,
    }
    report.figures.method(folder, result["method"], result["density_by_leaf"])
    return run_directory.finish(folder, result)


def save_trained(
    task: setup.Task, config: ConfigDict, folder: Path, ready: Prepared, fit: loop.Fit
) -> int:
    """Writes `weights.safetensors`, exactly zero where weights are pruned; returns its bytes."""
    path = folder / "weights.safetensors"
    about = setup.about_network(config.network, task)
    return run_directory.save_weights(path, trained(ready, fit), about)


def trained(ready: Prepared, fit: loop.Fit) -> Variables:
    """The chosen epoch's variables."""
    left = mask.pruned(ready.frozen["kept"], fit.learned["train"])
    params = tree.combine(left, ready.frozen["freeze"])
    return {"params": params, "batch_stats": fit.batch_stats}


def described(
    task: setup.Task,
    config: ConfigDict,
    masks: Any,
    schedule: str,
    initial: Initial,
    folder: Path,
) -> dict[str, Any]:
    """What `result.json` says of a ticket before it is trained."""
    dense = float(config.density) == 1.0
    return {
        "recipe": config.recipe,
        "method": "dense" if dense else config.criterion,
        "schedule": "" if dense else schedule,
        "network": config.network.name,
        "dataset": task.dataset.name,
        "seed": config.seed,
        "target_density": float(config.density),
        "density": float(mask.measure.density(masks)),
        "density_by_leaf": mask.measure.density_by_leaf(masks),
        "empty_leaves": mask.measure.empty_leaves(masks),
        "mask_bits": tree.size(masks),
        "shots": config.shots,
        "initial": initial.about(folder),
    }


def all_kept(variables: Variables, labels: Any) -> Any:
    """The mask that prunes nothing."""
    weights = tree.partition(variables["params"], labels)["mask"]
    return jax.tree.map(lambda leaf: jnp.ones(leaf.shape, bool), weights)


def about_mask(config: ConfigDict) -> dict[str, str]:
    """What a ticket's mask file says of itself."""
    return {
        "network": config.network.name,
        "criterion": config.criterion,
        "density": json.dumps(config.density),
    }


def _trained_numbers(ready: Prepared) -> int:
    """Numbers that training may change: what the mask keeps, and all that has no mask."""
    whole = tree.size(ready.learned["train"]) - tree.size(ready.frozen["kept"])
    left = sum(int(np.sum(leaf)) for leaf in jax.tree.leaves(ready.frozen["kept"]))
    return whole + left
