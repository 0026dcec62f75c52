"""A config's training section as a trainer, compiled once for all learning rates."""

import functools
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
from ml_collections import ConfigDict

from jaxmask import signals
from jaxmask.adapter import Adapter
from jaxmask.errors import InputError, check_numbers
from jaxmask.loss import cross_entropy
from jaxmask.run import texts
from jaxmask.run.plan import Planned
from jaxmask.run.programs import shared
from jaxmask.run.seeds import named_key, number
from jaxmask.run.task import Task, none_held_out
from jaxmask.train import cost, epoch, evaluation, feed, loop, movement, optimizer
from jaxmask.train.state import Problem, State, initial
from jaxmask.train.supervised import classifier
from jaxmask.train.unlabeled import LOSS


class Ready(NamedTuple):
    """The trees before the first step.

    Attributes:
      learned, frozen: as returned by an adapter's `init`.
      batch_stats: the network's running statistics.
    """

    learned: dict[str, Any]
    frozen: dict[str, Any]
    batch_stats: Any


class Training(NamedTuple):
    """A training run that has not started: its programs and their inputs."""

    programs: epoch.Programs
    job: loop.Job


class Trainer(NamedTuple):
    """One training section on one task.

    Attributes:
      job: (ready, rates, name, folder, title), optionally `keep`, `state` (a start), `watch`,
        `train` (a feed of some of the examples) -> Training, not started. `rates` has the peak
        rates that differ from the config's, by field; `name` determines the randomness.
      state: (ready, rates, name) -> the state before the first step.
      test: (fit, frozen) -> {"loss", "accuracy"} over the whole test split.
      steps_per_epoch: training steps per epoch.
      planned: what each of its trainings costs.
    """

    job: Callable[..., Training]
    state: Callable[..., State]
    test: Callable[..., dict[str, float]]
    steps_per_epoch: int
    planned: Planned


class _Compiled(NamedTuple):
    """Programs, their optimizers, and the length of their scans once it is known."""

    programs: epoch.Programs
    optimizers: optax.GradientTransformation
    problem: Problem
    scan_steps: list[int]


class Unlabeled(NamedTuple):
    """Training by a loss of views.

    Attributes:
      problem: (the classifier's problem, steps) -> the problem; see `train.unlabeled.of_views`.
      memory: (learned, batch size) -> what the first step carries.
      identity: of these functions, as of an adapter's.
      passes: what a step costs for each example; see `plan.Planned`.
    """

    problem: Callable[[Problem, int], Problem]
    memory: Callable[[dict[str, Any], int], Any]
    identity: Hashable
    passes: float


def _keeping(network: Callable[..., Any]) -> Callable[..., Any]:
    """The network with the statistics that its batch norms have, in training, too."""
    return lambda parameters, statistics, images, train: network(
        parameters, statistics, images, False
    )


def make_trainer(
    task: Task,
    config: ConfigDict,
    adapter: Adapter,
    seed: int,
    section: str,
    identity: Hashable,
    sum_movement: bool = False,
    unlabeled: Unlabeled | None = None,
) -> Trainer:
    """The trainer that a training section describes; nothing is compiled before the first job.

    Args:
      config: the section, see `defaults.train`.
      adapter: computes the network's parameters from the learned and the frozen trees.
      section: its name, for error messages.
      identity: of the adapter's functions; trainers with equal ones share compiled programs.
      sum_movement: the optimizer of weights also sums `-w * dL/dw` over all steps; see
        `train.movement`.
      unlabeled: a loss of views to train with, in place of the classifier's; no epoch is chosen
        by labels then, and the weights of the last one are kept.

    Raises:
      InputError: a field has an invalid value.
    """
    signals.obey()
    check_training(config, section)
    if unlabeled and config.statistics == "keep":
        raise InputError(f"{section}.statistics is 'keep', which is for training with labels")
    held_out = 0 if unlabeled else len(task.dataset.validation.labels)
    if config.patience and not held_out:
        raise none_held_out(f"{section}.patience needs validation data", task.dataset)
    examples = len(task.dataset.train.labels)
    feed.check_batch(config.batch_size, examples, task.mesh)
    steps_per_epoch = examples // config.batch_size
    steps = steps_per_epoch * config.epochs
    if steps >= 2**31:  # the state counts them in int32
        raise InputError(
            f"{section}.epochs is {config.epochs}, which makes {steps} steps; give fewer than 2^31"
        )
    first = (movement.summed(),) if sum_movement else ()
    described = optimizer.Section(config, steps, steps_per_epoch, first)
    groups = adapter.optimizers(described)  # here, so that its errors come first
    if unlabeled:
        groups = {**groups, LOSS: described.weights()}
    fields = ("optimizer", "mask_optimizer", "schedule", "clip", "label_smoothing", "statistics",
              "batch_size", "scan_steps")  # fmt: skip
    settings = tuple(config[name] for name in fields)
    kind = unlabeled and unlabeled.identity
    key = (task.identity, identity, settings, steps, steps_per_epoch, sum_movement, kind)

    @functools.cache
    def compiled() -> _Compiled:
        return shared("training", key, lambda: _compiled(task, config, groups, problem()))

    def problem() -> Problem:
        smoothing = config.label_smoothing
        labeled = classifier(
            parameters=adapter.parameters,
            masks=lambda learned, frozen: adapter.store(learned, frozen).masks,
            network=_keeping(task.network) if config.statistics == "keep" else task.network,
            augment=task.augment,
            loss=lambda logits, labels: cross_entropy(logits, labels, smoothing),
            targets=task.targets,
        )
        return unlabeled.problem(labeled, steps) if unlabeled else labeled

    def begin(ready: Ready, rates: dict[str, float], name: str) -> State:
        key = named_key(seed, f"{name}/train")
        made = compiled()
        memory = unlabeled and unlabeled.memory(ready.learned, config.batch_size)
        state = initial(ready.learned, ready.batch_stats, made.optimizers, key, memory,
                        made.problem.measured)  # fmt: skip
        if unknown := sorted(rates.keys() - optimizer.rates(state.optimizer)):
            raise InputError(
                f"{section}: no optimizer of this method takes {unknown[0]!r}, which its choices "
                "set; take the optimizers from the section's weights() and scores()"
            )
        peaks = {field: rates.get(field, config[field]) for field in optimizer.RATES}
        return state._replace(optimizer=optimizer.set_peaks(state.optimizer, peaks))

    def job(
        ready: Ready,
        rates: dict[str, float],
        name: str,
        folder: Path,
        title: str,
        keep: loop.Keep | None = None,
        state: State | None = None,
        watch: loop.Watch | None = None,
        train: feed.Feed | None = None,
    ) -> Training:
        signals.obey()
        state = begin(ready, rates, name) if state is None else state
        state, frozen = feed.replicate((state, ready.frozen), task.mesh)
        settings = loop.Settings(
            epochs=config.epochs,
            batch_size=config.batch_size,
            evaluation_batch=evaluation_batch(task, config, held_out),
            patience=config.patience,
            select=config.select,
            checkpoint_seconds=config.checkpoint_seconds,
            scan_steps=_scan_steps(compiled(), task, config, state, frozen),
            seed=number(seed, f"{name}/order"),
        )
        validation = task.feed("validation") if held_out else None
        train = task.feed("train") if train is None else train
        return Training(
            compiled().programs,
            loop.Job(state, frozen, train, validation, settings, folder, title, keep, watch),
        )

    def test(fitted: loop.Fit, frozen: Any) -> dict[str, float]:
        trees = (fitted.learned, fitted.batch_stats, frozen)
        learned, batch_stats, frozen = feed.replicate(trees, task.mesh)
        whole = task.feed("test")
        sums = evaluation.evaluate(
            compiled().programs.evaluate, learned, batch_stats, frozen, [whole], whole.resident,
            evaluation_batch(task, config, whole.examples), lambda seconds: signals.obey(),
        )  # fmt: skip
        means = sums.means()
        return {**means, **perplexity(task, means["loss"])}

    planned = Planned(
        steps, config.batch_size, held_out * config.epochs, config.patience > 0, task.module,
        task.image_shape, unlabeled.passes if unlabeled else 1.0,
    )  # fmt: skip
    return Trainer(job, begin, test, steps_per_epoch, planned)


def _compiled(
    task: Task,
    config: ConfigDict,
    groups: dict[str, optax.GradientTransformation],
    problem: Problem,
) -> _Compiled:
    together = optimizer.grouped(groups)
    programs = epoch.programs(problem, together, task.feed("train").fetch, task.mesh)
    return _Compiled(programs, together, problem, [config.scan_steps] if config.scan_steps else [])


def _scan_steps(
    compiled: _Compiled, task: Task, config: ConfigDict, state: State, frozen: Any
) -> int:
    """The length of a scan of a few seconds, estimated once for all runs of these programs."""
    if not compiled.scan_steps:
        train = task.feed("train")
        xs = next(iter(train.chunks(np.zeros((1, config.batch_size), np.int32), [1])))
        x = jax.tree.map(lambda leaf: leaf[0], xs)
        step = compiled.programs.step
        compiled.scan_steps.append(cost.scan_steps(step, state, frozen, train.resident, x))
    return compiled.scan_steps[0]


def perplexity(task: Task, loss: float) -> dict[str, float]:
    """exp(loss), by its name, where words are predicted."""
    return {"perplexity": float(np.exp(loss))} if texts.predicts_words(task.module) else {}


def evaluation_batch(task: Task, config: ConfigDict, examples: int) -> int:
    """Examples per evaluation step: a multiple of the devices that share it, no more."""
    least = min(config.evaluation_batch, max(examples, 1))
    sharing = task.mesh.shape["data"]
    return -(-least // sharing) * sharing


def check_training(config: ConfigDict, section: str) -> None:
    """Raises InputError, naming the field, for an invalid value."""
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
            f"{section}.select is {config.select!r}; it must be 'accuracy', 'loss' or 'last'"
        )
    if config.statistics not in ("update", "keep"):
        raise InputError(
            f"{section}.statistics is {config.statistics!r}; it must be 'update' or 'keep'"
        )
