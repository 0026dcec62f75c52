"""The training loop: epochs of compiled scans, validation, early stopping, checkpoints."""

import time
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxmask import tree
from jaxmask.errors import Interrupted
from jaxmask.train.checkpoint import Best, Checkpoint, Checkpoints, host_copy
from jaxmask.train.epoch import Programs
from jaxmask.train.feed import Feed, complete_order, cut, shuffled_order
from jaxmask.train.judge import DIVERGED, PATIENCE, Progress, judge
from jaxmask.train.progress import Bar
from jaxmask.train.records import Records
from jaxmask.train.signals import deferred
from jaxmask.train.state import State, Sums, Tree, read

HISTOGRAMS = 20  # of the scores, over a whole run
EVALUATED = 16  # batches in one scan of an evaluation


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


class Fit(NamedTuple):
    """What training gave: the chosen epoch's weights, and how they came about.

    Attributes:
      learned, batch_stats: of the chosen epoch, on the host.
      validation: {"loss", "accuracy"} at that epoch, empty without a validation split.
      epoch: the chosen one, counted from 1; 0 where training diverged within the first.
      steps: all steps done; `seconds`: over all interruptions.
      stopped_early: by `patience`; `diverged`: the loss was not finite at some epoch's end.
    """

    learned: dict[str, Tree]
    batch_stats: Tree
    validation: dict[str, float]
    epoch: int
    steps: int
    seconds: float
    stopped_early: bool
    diverged: bool


def fit(
    run: Programs,
    state: State,
    frozen: Tree,
    train: Feed,
    validation: Feed | None,
    settings: Settings,
    folder: Path,
    title: str = "train",
) -> Fit:
    """Trains `state.learned`, or goes on from the checkpoint that lies in `folder`.

    Records go to `folder/metrics.jsonl` and TensorBoard, checkpoints to `folder/checkpoints`.

    Raises:
      Interrupted: SIGTERM or Ctrl-C came; a checkpoint was saved.
      InputError: a checkpoint in the folder does not fit.
    """
    with Checkpoints(folder / "checkpoints") as checkpoints:
        return _fit(run, state, frozen, train, validation, settings, checkpoints, folder, title)


def _fit(
    run: Programs,
    state: State,
    frozen: Tree,
    train: Feed,
    validation: Feed | None,
    settings: Settings,
    checkpoints: Checkpoints,
    folder: Path,
    title: str,
) -> Fit:
    steps_per_epoch = train.examples // settings.batch_size
    best, progress = Best(*host_copy((state.learned, state.batch_stats))), Progress()
    start = checkpoints.restore(state)
    if start is not None:
        # Copies with the shardings of `state`, because the programs were compiled for those.
        state = jax.tree.map(
            lambda new, old: jax.device_put(jnp.array(new, old.dtype), old.sharding),
            start.state, state,
        )  # fmt: skip
        best, progress = start.best or best, start.progress
    began = saved = time.monotonic()
    before, first = progress.seconds, int(state.step)
    scores = tree.size(state.learned["mask"])
    density = None
    longest = min(settings.scan_steps, train.longest(settings.batch_size))

    def save() -> None:
        nonlocal saved, progress
        progress = progress._replace(seconds=before + time.monotonic() - began)
        checkpoints.save(Checkpoint(state, best if progress.chosen else None, progress))
        saved = time.monotonic()

    with (
        Records(folder, first) as records,
        Bar(title, settings.epochs * steps_per_epoch, first) as bar,
        deferred() as signals,
    ):
        for epoch in range(first // steps_per_epoch, settings.epochs):
            if progress.ended:
                break
            end = (epoch + 1) * steps_per_epoch
            done = int(state.step) - epoch * steps_per_epoch
            if done == 0:
                state = state._replace(sums=jax.tree.map(jnp.zeros_like, state.sums))
            order = shuffled_order(settings.seed, epoch, train.examples, settings.batch_size)
            for xs in train.chunks(order[done:], cut(steps_per_epoch - done, longest)):
                state = run.train(state, frozen, train.resident, xs)
                step, means = read(state)
                bar.update(step, (step - first) * settings.batch_size, **means, density=density)
                # After an epoch's last scan its validation comes first: without it, the epoch
                # could never be chosen.
                due = time.monotonic() - saved >= settings.checkpoint_seconds
                if step < end and (signals or due):
                    save()
                    _obey(signals)
            if scores:
                density = _kept(run, state, frozen) / scores
            records.write(end, epoch + 1, "train", **means, density=density)
            result: dict[str, float] = {}
            if validation is not None:
                batch = settings.evaluation_batch
                sums = evaluate(run, state.learned, state.batch_stats, frozen, validation, batch)
                result = sums.means()
                records.write(end, epoch + 1, "validation", **result)
            last = epoch + 1 == settings.epochs
            if last or epoch % max(settings.epochs // HISTOGRAMS, 1) == 0:
                records.histograms(end, tree.named_leaves(state.learned["mask"]))
            chosen = progress.chosen
            progress = judge(progress, means, result, epoch + 1, settings.patience, settings.select)
            if progress.chosen is not chosen:
                best = Best(*host_copy((state.learned, state.batch_stats)))
            due = time.monotonic() - saved >= settings.checkpoint_seconds
            if last or progress.ended or signals or due:
                save()
            _obey(signals)
        _obey(signals)
    picked = progress.chosen or {"epoch": 0}
    return Fit(
        learned=best.learned,
        batch_stats=best.batch_stats,
        validation={key: picked[key] for key in ("loss", "accuracy") if key in picked},
        epoch=picked["epoch"],
        steps=int(state.step),
        seconds=before + time.monotonic() - began,
        stopped_early=progress.ended == PATIENCE,
        diverged=progress.ended == DIVERGED,
    )


def _obey(signals: list[int]) -> None:
    if signals:
        raise Interrupted(signals[0])


def evaluate(
    run: Programs,
    learned: Tree,
    batch_stats: Tree,
    frozen: Tree,
    feed: Feed,
    batch_size: int,
) -> Sums:
    """Loss and accuracy over a whole split, each example once.

    At most `EVALUATED` batches are scanned at a time: a streamed split never lies on the device
    as a whole, and signals are heard in between.
    """
    order, valid = complete_order(feed.examples, batch_size)
    if not len(order):
        return Sums.zero()
    lengths = cut(len(order), min(EVALUATED, feed.longest(batch_size)))
    total: Any = None
    for xs, mask in zip(feed.chunks(order, lengths), np.split(valid, np.cumsum(lengths)[:-1])):
        sums = run.evaluate(learned, batch_stats, frozen, feed.resident, (xs, mask))
        total = sums if total is None else Sums(*(a + b for a, b in zip(total, sums)))
    return total


def _kept(run: Programs, state: State, frozen: Tree) -> int:
    counts = jax.device_get(jax.tree.leaves(run.masks(state.learned, frozen)))
    return sum(int(count) for count in counts)
