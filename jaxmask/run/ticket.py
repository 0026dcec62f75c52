"""A ticket: weights, and the mask of those that are left; trained, tested, stored."""

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

from jaxmask import adapter, mask, maskfile, tree
from jaxmask.errors import InputError
from jaxmask.model import weights as weights_file
from jaxmask.run import connections, starting, tensorboard, texts, trainer
from jaxmask.run.initializer import NETWORK, Initializer
from jaxmask.run.result import Result, fingerprint
from jaxmask.run.seeds import named_key
from jaxmask.run.task import Task, about_network, axes, shapes
from jaxmask.run.trainer import Ready, Trainer, Training
from jaxmask.train import loop
from jaxmask.train.records import Records
from jaxmask.train.state import State

Variables = dict[str, Any]
MASK = Path("masks") / "ticket.mask"
WEIGHTS = adapter.weights()


class Initial(NamedTuple):
    """The weights that an experiment starts from.

    Attributes:
      variables: "params" and "batch_stats".
      path: of their file.
      sha256: their fingerprint; runs with equal fingerprints started from the same weights.
      base: the network that masks are for: the fingerprint of all but the head.
    """

    variables: Variables
    path: Path
    sha256: str
    base: maskfile.Base

    def about(self, folder: Path) -> dict[str, str]:
        """Their entry in the `result.json` of a run directory."""
        return {"file": os.path.relpath(self.path, folder), "sha256": self.sha256}


def initial_weights(
    task: Task,
    start: starting.Start,
    config: ConfigDict,
    folder: Path,
    shared: Path | None,
    initializer: Initializer = NETWORK,
) -> Initial:
    """The starting weights of the config's seed, stored once for all runs that share them.

    They are in `shared`, by network, initialization and seed, or else in the run directory itself.

    Raises:
      InputError: the file cannot be read, or holds weights of another network; or they are made of
        scores that are not finite, or all zero.
    """
    name = "initial.safetensors"
    if shared is not None:
        network = {**config.network.to_dict(), "compute_dtype": "", "devices": 1}
        drawn = "" if start.weights is None else fingerprint(start.weights)
        made_of = [network, len(task.dataset.classes), task.image_shape, drawn]
        made_of += initializer.made_of() + ["new head"] * (config.head == "new")
        digest = hashlib.sha256(json.dumps(made_of).encode()).hexdigest()[:12]
        name = f"{config.network.name}-{digest}-seed{config.seed}.safetensors"
    path = (shared or folder) / name
    if not path.exists():
        variables = starting.starting_variables(task, start, named_key(config.seed, "start"))
        variables = initializer.change(variables)
        path.parent.mkdir(parents=True, exist_ok=True)
        weights_file.save(path, variables, about_network(config.network, task))
    try:
        weights, _ = weights_file.load(path)
        weights = {"batch_stats": {}, **weights}
        starting.check_fits(task, starting.Start(weights, str(path), head=True))
    except InputError as error:
        raise InputError(f"{error}; delete it, and the same command will recreate it") from None
    # in the leaf order of the network, for which programs are compiled
    like = shapes(task)
    leaves = tree.align(like, weights, str(path))
    variables = jax.tree.unflatten(jax.tree.structure(like), [jnp.asarray(x) for x in leaves])
    base = maskfile.Base(config.network.name, starting.body_fingerprint(weights))
    return Initial(variables, path, fingerprint(weights), base)


def make_trainer(task: Task, config: ConfigDict, sum_movement: bool = False) -> Trainer:
    """The trainer of all tickets of a config, for any mask.

    Raises:
      InputError: a field of `train` has an invalid value.
    """
    return trainer.make_trainer(
        task, config.train, WEIGHTS, config.seed, "train", "weights", sum_movement
    )


def ready(variables: Variables, labels: Any, masks: Any) -> Ready:
    """What training needs: weights that are zero where pruned, and the mask that keeps them
    zero. Labels: "mask" (pruned), "train" (whole), "freeze"."""
    trained = jax.tree.map(lambda label: "train" if label == "mask" else label, labels)
    parts = tree.partition(variables["params"], trained)
    learned = {"train": mask.pruned(masks, parts["train"])}
    return Ready(learned, {"freeze": parts["freeze"], "kept": masks}, variables["batch_stats"])


def store_mask(folder: Path, masks: Any, metadata: dict[str, str], base: maskfile.Base) -> Path:
    """Writes `masks/ticket.mask` of a run directory."""
    path = folder / MASK
    path.parent.mkdir(parents=True, exist_ok=True)
    maskfile.save(path, masks, metadata=metadata, base=base)
    return path


def stored_mask(folder: Path, like: Any) -> Any | None:
    """The mask that an interrupted run has already chosen, or None."""
    path = folder / MASK
    if not path.exists():
        return None
    try:
        return jax.tree.map(jnp.asarray, maskfile.load(path, like))
    except InputError as error:
        raise InputError(f"{error} (or delete it: the same command will recreate it)") from None


def train(
    trainer: Trainer,
    ready: Ready,
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


def tested(
    task: Task,
    trainer: Trainer,
    config: ConfigDict,
    folder: Path,
    ready: Ready,
    fit: loop.Fit,
    found: Result,
) -> Result:
    """Reads the test split once and writes the weights of a trained ticket; returns its result."""
    test = trainer.test(fit, ready.frozen)
    with Records(folder, fit.steps) as records:
        records.write(fit.steps, fit.epoch, "test", **test)
        before, after, kept = ready.learned["train"], fit.learned["train"], ready.frozen["kept"]
        tensorboard.ticket(records.board, fit.steps, before, after, kept, found)
    size = save_trained(task, config, folder, ready, fit)
    more = {
        **found.more,
        "loss": test["loss"],
        **texts.told(test),
        "validation_loss": fit.validation.get("loss"),
        "epoch": fit.epoch,
        "chosen_step": fit.epoch * trainer.steps_per_epoch,
        "stopped_early": fit.stopped_early,
        "diverged": fit.diverged,
        "waited": fit.waited,
    }
    return found._replace(
        accuracy=test["accuracy"],
        validation_accuracy=fit.validation.get("accuracy"),
        storage_bytes=size + found.storage_bytes,
        trained_numbers=_trained_numbers(ready),
        steps=fit.steps,
        seconds=fit.seconds,
        more=more,
    )


def save_trained(task: Task, config: ConfigDict, folder: Path, ready: Ready, fit: loop.Fit) -> int:
    """Writes `weights.safetensors`, exactly zero where pruned; returns its size in bytes."""
    about = about_network(config.network, task)
    return weights_file.save(folder / weights_file.NAME, trained(ready, fit), about)


def trained(ready: Ready, fit: loop.Fit) -> Variables:
    """The chosen epoch's variables."""
    params = WEIGHTS.parameters(fit.learned, ready.frozen)
    return {"params": params, "batch_stats": fit.batch_stats}


def unpruned(variables: Variables, initial: Variables, masks: Any) -> Variables:
    """Trained variables, with their initial weights where they are pruned."""

    def leaf(bits: Any, trained: Any, before: Any) -> Any:
        return trained if bits is None else jnp.where(bits, trained, before)

    params = jax.tree.map(
        leaf, masks, variables["params"], initial["params"], is_leaf=lambda node: node is None
    )
    return {**variables, "params": params}


def described(
    task: Task,
    config: ConfigDict,
    masks: Any,
    schedule: str,
    initial: Initial,
    folder: Path,
) -> Result:
    """The result of a ticket before training; its mask is already stored."""
    dense = float(config.density) == 1.0
    words = axes(task, config)
    return Result(
        recipe=config.recipe,
        method="dense" if dense else config.criterion,
        dataset=task.dataset.name,
        seed=config.seed,
        accuracy=None,
        validation_accuracy=None,
        storage_bytes=(folder / MASK).stat().st_size,
        steps=0,
        seconds=0.0,
        network=config.network.name,
        density=float(mask.measure.density(masks)),
        density_by_leaf=mask.measure.density_by_leaf(masks, words),
        empty_leaves=tuple(mask.measure.empty_leaves(masks, words)),
        mask_bits=tree.size(masks),
        more={
            "schedule": "" if dense else schedule,
            "target_density": float(config.density),
            "shots": config.shots,
            "head": config.head,
            "initial": initial.about(folder),
            **connections.effective(task, config, masks),
        },
    )


def all_kept(variables: Variables, labels: Any) -> Any:
    """The mask that prunes nothing."""
    weights = tree.partition(variables["params"], labels)["mask"]
    return jax.tree.map(lambda leaf: jnp.ones(leaf.shape, bool), weights)


def about_mask(config: ConfigDict, task: Task) -> dict[str, str]:
    """The metadata of a ticket's mask file."""
    return {
        "network": config.network.name,
        "criterion": config.criterion,
        "density": json.dumps(config.density),
        "dataset": task.dataset.name,
    }


def _trained_numbers(ready: Ready) -> int:
    """The trainable parameters: those the mask keeps, and those without a mask."""
    whole = tree.size(ready.learned["train"]) - tree.size(ready.frozen["kept"])
    left = sum(int(np.sum(leaf)) for leaf in jax.tree.leaves(ready.frozen["kept"]))
    return whole + left
