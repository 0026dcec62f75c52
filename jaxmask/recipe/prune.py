"""Prune before training: initialize, score and prune in one shot or many, train, test."""

import time
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from jaxmask.recipe import run_directory, starting, ticket
from jaxmask.recipe.composition import PLAIN
from jaxmask.recipe.experiment import Begin, Experiment
from jaxmask.recipe.pruning import make_pruner
from jaxmask.recipe.trainer import make_trainer


def prepare(config: ConfigDict) -> Begin:
    """Checks all that can be checked; the function that it returns runs in a run directory.

    `config.shots == 1` is upfront, single shot (USS), more are upfront, many shots (UMS). With
    `config.density == 1` nothing is scored and the network is trained dense. With
    `config.train.epochs == 0` nothing is trained: the result is the mask.

    Raises:
      InputError: the config cannot be run.
    """
    task, start = starting.task_of(config)
    pruner = make_pruner(task, config)
    trainer = None
    if config.train.epochs != 0:
        trainer = make_trainer(task, config.train, PLAIN, config.seed, "train")

    def run(folder: Path, shared: Path | None = None) -> Experiment:
        finished = run_directory.begin(folder, config)
        if finished is not None:
            return finished
        initial = ticket.initial_weights(task, start, config, folder, shared)
        began = time.monotonic()
        whole = ticket.all_kept(initial.variables, pruner.labels)
        masks = whole if config.density == 1 else ticket.stored_mask(folder, whole)
        seconds = None  # of a mask that was made before
        if masks is None:
            masks, _ = pruner.prune(initial.variables, config.density)
            seconds = time.monotonic() - began
        ticket.store_mask(folder, masks, ticket.about_mask(config))
        schedule = "USS" if config.shots == 1 else "UMS"
        result: dict[str, Any] = {
            **ticket.described(task, config, masks, schedule, initial, folder),
            "seconds_of_pruning": seconds,
        }
        if trainer is None:
            size = (folder / "masks" / "ticket.mask").stat().st_size
            nothing = {"accuracy": None, "validation_accuracy": None, "storage_bytes": size,
                       "steps": 0, "seconds": 0.0}  # fmt: skip
            return run_directory.finish(folder, {**result, **nothing})
        ready = ticket.prepared(initial.variables, pruner.labels, masks)
        fit = yield from ticket.train(trainer, ready, folder, folder.name)
        return ticket.write(task, trainer, config, folder, ready, fit, result)

    return run
