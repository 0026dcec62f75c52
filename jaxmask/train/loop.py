"""The training loop: epochs of compiled scans, validation, early stopping, checkpoints.

Runs that share their programs and shapes can be trained together, stacked along a new axis under
`vmap`: each has its own order of examples, records, early stopping and checkpoints.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxmask import tree
from jaxmask.errors import Interrupted
from jaxmask.train import lanes
from jaxmask.train.checkpoint import Best, Checkpoint, Checkpoints, device_copy, host_copy
from jaxmask.train.epoch import Programs
from jaxmask.train.evaluation import evaluate
from jaxmask.train.feed import Feed, ahead, cut, shuffled_order
from jaxmask.train.judge import DIVERGED, PATIENCE, Progress, judge
from jaxmask.train.progress import Bar
from jaxmask.train.records import Records
from jaxmask.train.signals import deferred
from jaxmask.train.state import State, Tree

HISTOGRAMS = 20  # of the scores, over a whole run


class Settings(NamedTuple):
    """How long to train and how to choose the epoch.

    Attributes:
      epochs: at most this many.
      batch_size: examples a training step.
      evaluation_batch: examples an evaluation step.
      patience: stop after this many epochs without a lower validation loss; 0 never does.
      select: "accuracy" (ties: the lower loss) or "loss", of the validation split: which epoch's
        weights are kept. Without a validation split it is the last epoch's.
      checkpoint_seconds: time between two checkpoints.
      scan_steps: most steps in one compiled scan.
      seed: of the data order.
    """

    epochs: int
    batch_size: int
    evaluation_batch: int
    patience: int
    select: str
    checkpoint_seconds: float
    scan_steps: int
    seed: int


class Keep(NamedTuple):
    """A step of training, and what is done with the state there (after so many steps)."""

    step: int
    write: Callable[[State], None]


class Job(NamedTuple):
    """All that one training run is given; see `fit`."""

    state: State
    frozen: Tree
    train: Feed
    validation: Feed | None
    settings: Settings
    folder: Path
    title: str = "train"
    keep: Keep | None = None


class Fit(NamedTuple):
    """What training gave: the chosen epoch's weights, and how they came about.

    Attributes:
      learned, batch_stats: of the chosen epoch, on the host.
      validation: {"loss", "accuracy"} at that epoch, empty without a validation split.
      epoch: the chosen one, counted from 1; 0 where training diverged within the first.
      steps: all steps done; `seconds`: over all interruptions (and, of runs that are trained
        together, of all of them); `waited`: the share of them in which the device had nothing to
        do because data was not there.
      stopped_early: by `patience`; `diverged`: the loss was not finite at some epoch's end.
      last: the state after the last step.
    """

    learned: dict[str, Tree]
    batch_stats: Tree
    validation: dict[str, float]
    epoch: int
    steps: int
    seconds: float
    waited: float
    stopped_early: bool
    diverged: bool
    last: State


def fit(
    run: Programs,
    state: State,
    frozen: Tree,
    train: Feed,
    validation: Feed | None,
    settings: Settings,
    folder: Path,
    title: str = "train",
    keep: Keep | None = None,
) -> Fit:
    """Trains `state.learned`, or goes on from the checkpoint that lies in `folder`.

    Records go to `folder/metrics.jsonl` and TensorBoard, checkpoints to `folder/checkpoints`.

    Raises:
      Interrupted: SIGTERM or Ctrl-C came; a checkpoint was saved.
      InputError: a checkpoint in the folder does not fit.
    """
    job = Job(state, frozen, train, validation, settings, folder, title, keep)
    return fit_together(run, [job])[0]


def fit_together(run: Programs, jobs: Sequence[Job]) -> list[Fit]:
    """`fit` of each job: those that are equally far are trained as one program under `vmap`.

    The jobs have feeds of equal sizes, states of equal shapes, and settings that differ in the
    seed alone. A job that ends early waits for the others; what it is given is its own.
    """
    with ExitStack() as stack:
        runs = [
            _open(job, stack.enter_context(Checkpoints(job.folder / "checkpoints"))) for job in jobs
        ]
        for step in sorted({int(each.state.step) for each in runs}):
            equal = [each for each in runs if each.step == step and not _ended(each)]
            if equal:
                _train(run, equal)
        return [_fit(each) for each in runs]


@dataclass
class _Run:
    """A job under way."""

    job: Job
    checkpoints: Checkpoints
    state: State
    step: int
    best: Best
    progress: Progress


def _open(job: Job, checkpoints: Checkpoints) -> _Run:
    """The job at its beginning, or where its checkpoint has it."""
    state = job.state
    found = checkpoints.restore(state)
    if found is None:
        best = Best(*host_copy((state.learned, state.batch_stats)))
        return _Run(job, checkpoints, state, int(state.step), best, Progress())
    # with the shardings of `state`, because the programs were compiled for those
    state = device_copy(found.state, state)
    best = found.best or Best(*host_copy((job.state.learned, job.state.batch_stats)))
    return _Run(job, checkpoints, state, int(state.step), best, found.progress)


def _ended(run: _Run) -> bool:
    settings = run.job.settings
    last = settings.epochs * (run.job.train.examples // settings.batch_size)
    return run.progress.ended is not None or run.step >= last


def _fit(run: _Run) -> Fit:
    picked = run.progress.chosen or {"epoch": 0}
    return Fit(
        learned=run.best.learned,
        batch_stats=run.best.batch_stats,
        validation={key: picked[key] for key in ("loss", "accuracy") if key in picked},
        epoch=picked["epoch"],
        steps=run.step,
        seconds=run.progress.seconds,
        waited=run.progress.waited / max(run.progress.seconds, 1e-9),
        stopped_early=run.progress.ended == PATIENCE,
        diverged=run.progress.ended == DIVERGED,
        last=run.state,
    )


def _train(run: Programs, runs: list[_Run]) -> None:
    """Trains runs that are at the same step until each has ended."""
    many = len(runs) > 1
    jobs = [each.job for each in runs]
    first, keep, settings = runs[0].step, jobs[0].keep, jobs[0].settings
    steps_per_epoch = jobs[0].train.examples // settings.batch_size
    longest = min(settings.scan_steps, jobs[0].train.longest(settings.batch_size))
    advance = run.train_together if many else run.train
    state = lanes.stacked([each.state for each in runs])
    frozen = lanes.stacked([job.frozen for job in jobs])
    resident = lanes.stacked([job.train.resident for job in jobs])
    feeds = [job.validation for job in jobs if job.validation is not None]
    held_out = lanes.stacked([feed.resident for feed in feeds]) if feeds else ()
    scores = tree.size(jobs[0].state.learned["mask"])
    density: list[float | None] = [None] * len(runs)
    began = saved = time.monotonic()
    before = [each.progress for each in runs]
    streams = not jax.tree.leaves(resident)
    waited = 0.0

    def take(index: int) -> State:
        """One run's part of the state, with which it can go on alone."""
        return jax.tree.map(lambda leaf: leaf[index], state) if many else state

    def save() -> None:
        nonlocal saved
        for index in range(len(runs)):
            if not stopped[index]:
                keep_one(index)
        saved = time.monotonic()

    def keep_one(index: int) -> None:
        seconds = before[index].seconds + time.monotonic() - began
        _save(runs[index], take(index), seconds, before[index].waited + waited)

    def wait(seconds: float) -> None:
        nonlocal waited
        waited += seconds

    def pieces() -> Iterator[Tree]:
        """What the scans go over, from here to the last epoch's end."""
        for epoch in range(first // steps_per_epoch, settings.epochs):
            begin, end = epoch * steps_per_epoch, (epoch + 1) * steps_per_epoch
            step = max(first, begin)
            orders = [
                shuffled_order(job.settings.seed, epoch, job.train.examples, settings.batch_size)[
                    step - begin :
                ]
                for job in jobs
            ]
            lengths = _lengths(step, end, longest, keep.step if keep else None)
            yield from lanes.chunks([job.train for job in jobs], orders, lengths)

    with ExitStack() as stack:
        records = [stack.enter_context(Records(job.folder, first)) for job in jobs]
        title = f"{jobs[0].title} and {len(jobs) - 1} more" if many else jobs[0].title
        bar = stack.enter_context(Bar(title, settings.epochs * steps_per_epoch, first))
        signals = stack.enter_context(deferred())
        stopped = [False] * len(runs)
        data = stack.enter_context(closing(ahead(pieces(), wait)))
        for epoch in range(first // steps_per_epoch, settings.epochs):
            end = (epoch + 1) * steps_per_epoch
            epoch_began, epoch_waited = time.monotonic(), waited
            step, _ = lanes.read(state, len(runs))
            if step == epoch * steps_per_epoch:
                state = state._replace(sums=jax.tree.map(jnp.zeros_like, state.sums))
            while step < end:
                state = advance(state, frozen, resident, next(data))
                step, means = lanes.read(state, len(runs))
                seen = (step - first) * settings.batch_size * len(runs)
                bar.update(step, seen, **lanes.average(means), density=density[0])
                if keep is not None and step == keep.step:
                    for index, job in enumerate(jobs):
                        if job.keep is not None and not stopped[index]:
                            job.keep.write(take(index))
                # After an epoch's last scan its validation comes first: without it, the epoch
                # could never be chosen.
                due = time.monotonic() - saved >= settings.checkpoint_seconds
                if step < end and (signals or due):
                    save()
                    _obey(signals)
            results: list[dict[str, float]] = [{} for _ in runs]
            if feeds:
                program = run.evaluate_together if many else run.evaluate
                sums = evaluate(
                    program, state.learned, state.batch_stats, frozen, feeds, held_out,
                    settings.evaluation_batch, wait,
                )  # fmt: skip
                results = lanes.means(sums, len(runs))
            # Only of a stream, so that what is written of resident data has no times in it.
            share = (waited - epoch_waited) / (time.monotonic() - epoch_began)
            timed = {"waited": round(share, 4)} if streams else {}
            last = epoch + 1 == settings.epochs
            for index, each in enumerate(runs):
                if stopped[index]:
                    continue
                if scores:
                    density[index] = _kept(run, take(index), jobs[index].frozen) / scores
                records[index].write(
                    end, epoch + 1, "train", **means[index], density=density[index], **timed
                )
                if feeds:
                    records[index].write(end, epoch + 1, "validation", **results[index])
                if last or epoch % max(settings.epochs // HISTOGRAMS, 1) == 0:
                    leaves = tree.named_leaves(take(index).learned["mask"])
                    records[index].histograms(end, leaves)
                chosen = each.progress.chosen
                each.progress = judge(
                    each.progress, means[index], results[index], epoch + 1,
                    settings.patience, settings.select,
                )  # fmt: skip
                if each.progress.chosen is not chosen:
                    now = take(index)
                    each.best = Best(*host_copy((now.learned, now.batch_stats)))
                if last or each.progress.ended:
                    keep_one(index)
                    stopped[index] = True
            if all(stopped):
                break
            if signals or time.monotonic() - saved >= settings.checkpoint_seconds:
                save()
            _obey(signals)
        _obey(signals)


def _save(run: _Run, state: State, seconds: float, waited: float) -> None:
    run.state, run.step = state, int(state.step)
    run.progress = run.progress._replace(seconds=seconds, waited=waited)
    best = run.best if run.progress.chosen else None
    run.checkpoints.save(Checkpoint(state, best, run.progress))


def _lengths(step: int, end: int, longest: int, stop: int | None) -> list[int]:
    """Lengths of the scans from `step` to `end`, with a cut at `stop` if that lies between."""
    marks = [step, *([stop] if stop is not None and step < stop < end else []), end]
    return [length for a, b in pairwise(marks) for length in cut(b - a, longest)]


def _obey(signals: list[int]) -> None:
    if signals:
        raise Interrupted(signals[0])


def _kept(run: Programs, state: State, frozen: Tree) -> int:
    counts = jax.device_get(jax.tree.leaves(run.masks(state.learned, frozen)))
    return sum(int(count) for count in counts)
