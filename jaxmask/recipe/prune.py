"""Prune before training: initialize, score and prune in one or many shots, train, test."""

import time
from pathlib import Path

from ml_collections import ConfigDict

from jaxmask import report
from jaxmask.run import directory, result, starting, tensorboard, ticket
from jaxmask.run.driver import Begin, Experiment
from jaxmask.run.initializer import make_initializer
from jaxmask.run.pruning import make_pruner


def prepare(config: ConfigDict) -> Begin:
    """Checks what can be checked; returns a function that runs in a run directory.

    `config.shots == 1` is upfront, single shot (USS), more are upfront, many shots (UMS). With
    `config.density == 1` nothing is scored and the network is trained dense. With
    `config.train.epochs == 0` nothing is trained: the result is the mask.

    Raises:
      InputError: the config is invalid.
    """
    task, start = starting.task_of(config)
    pruner = make_pruner(task, config)
    initializer = make_initializer(task, config)
    trainer = None
    if config.train.epochs != 0:
        trainer = ticket.make_trainer(task, config)

    def run(folder: Path, shared: Path | None = None) -> Experiment:
        finished = directory.begin(folder, config)
        if finished is not None:
            return finished
        initial = ticket.initial_weights(task, start, config, folder, shared, initializer)
        began = time.monotonic()
        whole = ticket.all_kept(initial.variables, pruner.labels)
        masks = whole if config.density == 1 else ticket.stored_mask(folder, whole)
        seconds = None  # for a stored mask, the time is unknown
        if masks is None:
            masks, _ = pruner.prune(initial.variables, config.density)
            seconds = time.monotonic() - began
        ticket.store_mask(folder, masks, ticket.about_mask(config))
        schedule = "USS" if config.shots == 1 else "UMS"
        found = ticket.described(task, config, masks, schedule, initial, folder)
        found = found._replace(more={**found.more, "seconds_of_pruning": seconds})
        if trainer is None:
            return result.write(folder, found)
        ready = ticket.ready(initial.variables, pruner.labels, masks)
        fit = yield from ticket.train(trainer, ready, folder, folder.name)
        found = ticket.tested(task, trainer, config, folder, ready, fit, found)
        tensorboard.hyperparameters(folder, config, fit.steps)
        report.figures.method(folder, found.method, found.density_by_leaf)
        return result.write(folder, found)

    return Begin(run, (trainer.planned,) if trainer else ())
