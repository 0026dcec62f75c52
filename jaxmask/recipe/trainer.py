"""A config's training section as one function that trains, compiled once for all rates."""

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from jaxmask.errors import InputError
from jaxmask.loss import cross_entropy
from jaxmask.recipe.composition import PLAIN, Composition
from jaxmask.recipe.setup import Task, check_numbers, named_key, number
from jaxmask.recipe.shared import shared
from jaxmask.train import cost, epoch, evaluation, feed, loop, movement, optimizer
from jaxmask.train.state import Problem, State, initial

# a rate -> the groups of what is learned that learn by it
RATES = {"learning_rate": ("train", "low_rank"), "mask_learning_rate": ("mask",)}


class Prepared(NamedTuple):
    """A method's trees before its first step.

    Attributes:
      learned, frozen: as the method's `Composition` takes them.
      batch_stats: the network's running statistics.
    """

    learned: dict[str, Any]
    frozen: dict[str, Any]
    batch_stats: Any


class Trainer(NamedTuple):
    """One method on one task.

    Attributes:
      fit: (prepared, rates, name, folder, title) -> loop.Fit. `rates` has the peak rates that
        differ from the config's, by field; `name` is where randomness comes from.
      job: the same, and optionally `keep` and `state` (to go on from) -> Training, not begun.
      state: (prepared, rates, name) -> the state before the first step.
      test: (fit, frozen) -> {"loss", "accuracy"} over the whole test split.
      steps_per_epoch: of training.
    """

    fit: Callable[..., loop.Fit]
    job: Callable[..., "Training"]
    state: Callable[..., State]
    test: Callable[..., dict[str, float]]
    steps_per_epoch: int


class Training(NamedTuple):
    """A training run that has not begun: its programs, and what they are given."""

    programs: epoch.Programs
    job: loop.Job


class _Compiled(NamedTuple):
    """Programs, and the length of scan that suits them once it is known."""

    programs: epoch.Programs
    scan_steps: list[int]


def make_trainer(
    task: Task,
    config: ConfigDict,
    composition: Composition,
    seed: int,
    section: str,
    sum_movement: bool = False,
) -> Trainer:
    """Builds what a training section describes; nothing is compiled before the first fit.

    Args:
      config: the section, see `defaults.train`.
      section: its name, for error messages.
      composition: how the network's parameters come from what is learned and what is frozen.
      sum_movement: the optimizer of weights also sums `-w * dL/dw` over all steps; see
        `train.movement`.

    Raises:
      InputError: a field has a value that cannot be used.
    """
    check_training(config, section)
    held_out = len(task.dataset.validation.labels)
    if config.patience and not held_out:
        raise InputError(f"{section}.patience needs validation data: set data.validation above 0")
    examples = len(task.dataset.train.labels)
    feed.check_batch(config.batch_size, examples, task.mesh)
    steps_per_epoch = examples // config.batch_size
    steps = steps_per_epoch * config.epochs
    course = optimizer.schedule(config.schedule, steps, steps_per_epoch)
    of_weights = optimizer.optimizer(
        config.optimizer, course, config.clip, (movement.summed(),) if sum_movement else ()
    )
    groups = {
        "mask": optimizer.optimizer(config.mask_optimizer, course, config.clip),
        "train": of_weights,
        "low_rank": of_weights,
        "density": optimizer.falling(round(composition.falling_epochs * steps_per_epoch)),
    }
    together = optimizer.grouped(groups)

    problem = Problem(
        weights=composition.weights,
        masks=composition.masks,
        network=task.network,
        augment=task.augment,
        loss=lambda logits, labels: cross_entropy(logits, labels, config.label_smoothing),
    )

    def evaluation_batch(size: int) -> int:
        least = min(config.evaluation_batch, max(size, 1))
        return -(-least // task.mesh.size) * task.mesh.size

    @functools.cache
    def compiled() -> _Compiled:
        def build() -> _Compiled:
            programs = epoch.programs(problem, together, task.feed("train").fetch, task.mesh)
            return _Compiled(programs, [config.scan_steps] if config.scan_steps else [])

        if composition is not PLAIN:
            return build()
        fields = ("optimizer", "mask_optimizer", "schedule", "clip", "label_smoothing",
                  "batch_size", "scan_steps")  # fmt: skip
        settings = {name: config[name] for name in fields}
        identity = [task.identity, settings, steps, steps_per_epoch, sum_movement]
        return shared("training", json.dumps(identity), build)

    def settings(state: State, frozen: Any, name: str) -> loop.Settings:
        programs, scan_steps = compiled()
        if not scan_steps:
            train = task.feed("train")
            xs = next(iter(train.chunks(np.zeros((1, config.batch_size), np.int32), [1])))
            x = jax.tree.map(lambda leaf: leaf[0], xs)
            scan_steps.append(cost.scan_steps(programs.step, state, frozen, train.resident, x))
        return loop.Settings(
            epochs=config.epochs,
            batch_size=config.batch_size,
            evaluation_batch=evaluation_batch(held_out),
            patience=config.patience,
            select=config.select,
            checkpoint_seconds=config.checkpoint_seconds,
            scan_steps=scan_steps[0],
            seed=number(seed, f"{name}/order"),
        )

    def begin(prepared: Prepared, rates: dict[str, float], name: str) -> State:
        key = named_key(seed, f"{name}/train")
        state = initial(prepared.learned, prepared.batch_stats, together, key)
        peaks = {field: rates.get(field, config[field]) for field in RATES}
        return state._replace(
            optimizer={
                **state.optimizer,
                **{
                    group: optimizer.set_peak(state.optimizer[group], peaks[field])
                    for field, groups in RATES.items()
                    for group in groups
                    if group in state.optimizer
                },
            }
        )

    def job(
        prepared: Prepared,
        rates: dict[str, float],
        name: str,
        folder: Path,
        title: str,
        keep: loop.Keep | None = None,
        state: State | None = None,
    ) -> Training:
        state = begin(prepared, rates, name) if state is None else state
        state, frozen = feed.replicate((state, prepared.frozen), task.mesh)
        validation = task.feed("validation") if held_out else None
        return Training(
            compiled().programs,
            loop.Job(
                state, frozen, task.feed("train"), validation, settings(state, frozen, name),
                folder, title, keep,
            ),
        )  # fmt: skip

    def fit(*arguments: Any) -> loop.Fit:
        training = job(*arguments)
        return loop.fit(training.programs, *training.job)

    def test(fitted: loop.Fit, frozen: Any) -> dict[str, float]:
        trees = (fitted.learned, fitted.batch_stats, frozen)
        learned, batch_stats, frozen = feed.replicate(trees, task.mesh)
        whole = task.feed("test")
        sums = evaluation.evaluate(
            compiled().programs.evaluate, learned, batch_stats, frozen, [whole], whole.resident,
            evaluation_batch(whole.examples),
        )  # fmt: skip
        return sums.means()

    return Trainer(fit, job, begin, test, steps_per_epoch)


def check_training(config: ConfigDict, section: str) -> None:
    """Raises InputError, naming the field, where a number cannot be used."""
    at_least = {
        "epochs": 1, "batch_size": 1, "evaluation_batch": 1, "patience": 0, "clip": 0.0,
        "checkpoint_seconds": 0.0, "scan_steps": 0, "learning_rate": 0.0,
        "mask_learning_rate": 0.0, "label_smoothing": 0.0,
    }  # fmt: skip
    for field, least in at_least.items():
        check_numbers(f"{section}.{field}", [config[field]], least)
    if config.label_smoothing >= 1:
        raise InputError(
            f"{section}.label_smoothing is {config.label_smoothing}; it must be below 1"
        )
    if config.select not in ("accuracy", "loss", "last"):
        raise InputError(
            f"{section}.select is {config.select!r}; it is 'accuracy', 'loss' or 'last'"
        )
