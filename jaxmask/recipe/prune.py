"""Prune before training: initialize, score and prune in one or many shots, train, test."""

import os
import time
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from jaxmask import report
from jaxmask.run import directory, given, result, starting, tensorboard, ticket
from jaxmask.run.driver import Begin, Experiment
from jaxmask.run.given import Given
from jaxmask.run.initializer import make_initializer
from jaxmask.run.pruning import make_pruner
from jaxmask.run.result import Result


def prepare(config: ConfigDict) -> Begin:
    """Checks what can be checked; returns a function that runs in a run directory.

    `config.shots == 1` is upfront, single shot (USS), more are upfront, many shots (UMS). With
    `config.density == 1` nothing is scored and the network is trained dense. With
    `config.train.epochs == 0` nothing is trained: the result is the mask. With `config.mask_from`
    nothing is scored: the mask is that of another run, see `run.given`.

    Raises:
      InputError: the config is invalid.
    """
    task, start = starting.task_of(config)
    pruner = make_pruner(task, config)
    initializer = make_initializer(task, config)
    found_before = None
    if config.mask_from:
        found_before = given.read(task, start, config, pruner.labels, initializer)
    trainer = None
    if config.train.epochs != 0:
        trainer = ticket.make_trainer(task, config)

    def run(folder: Path, shared: Path | None = None) -> Experiment:
        finished = directory.begin(folder, config)
        if finished is not None:
            return finished
        initial = ticket.initial_weights(task, start, config, folder, shared, initializer)
        masks, seconds = chosen(initial, folder)
        about = ticket.about_mask(config, task) if found_before is None else found_before.about
        ticket.store_mask(folder, masks, dict(about), initial.base)
        schedule = "USS" if config.shots == 1 else "UMS"
        found = ticket.described(task, config, masks, schedule, initial, folder)
        found = found._replace(more={**found.more, "seconds_of_pruning": seconds})
        if found_before is not None:
            found = _named(found, found_before, folder)
        if trainer is None:
            return result.write(folder, found)
        ready = ticket.ready(initial.variables, pruner.labels, masks)
        fit = yield from ticket.train(trainer, ready, folder, folder.name)
        found = ticket.tested(task, trainer, config, folder, ready, fit, found)
        tensorboard.hyperparameters(folder, config, fit.steps)
        report.figures.method(folder, found.method, found.density_by_leaf)
        return result.write(folder, found)

    def chosen(initial: ticket.Initial, folder: Path) -> tuple[Any, float | None]:
        """The mask, and the seconds that scoring took; None if it was not scored now."""
        if found_before is not None:
            return found_before.masks, None
        whole = ticket.all_kept(initial.variables, pruner.labels)
        masks = whole if config.density == 1 else ticket.stored_mask(folder, whole)
        if masks is not None:
            return masks, None
        began = time.monotonic()
        masks, _ = pruner.prune(initial.variables, config.density)
        return masks, time.monotonic() - began

    return Begin(run, (trainer.planned,) if trainer else ())


def _named(found: Result, before: Given, folder: Path) -> Result:
    """The result, called after what found the mask."""
    more = {
        **found.more,
        "schedule": "",
        "target_density": before.density,
        "mask_from": os.path.relpath(before.path, folder),
    }
    return found._replace(method=before.method, more=more)
