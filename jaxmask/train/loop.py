"""The training loop: epochs of compiled scans, validation, early stopping, checkpoints."""

import time
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxmask import tree
from jaxmask.train.checkpoint import Best, Checkpoint, Checkpoints, host_copy
from jaxmask.train.epoch import Programs
from jaxmask.train.feed import Feed, complete_order, cut, shuffled_order
from jaxmask.train.progress import Bar
from jaxmask.train.records import Records
from jaxmask.train.signals import Interrupted, deferred
from jaxmask.train.state import State, Sums, Tree

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
    start = checkpoints.restore(state)
    best = Best(*host_copy((state.learned, state.batch_stats)))
    progress: dict[str, Any] = {
        "has_best": False, "chosen": None, "epoch": 0, "stale": 0,
        "lowest_loss": None, "ended": None, "seconds": 0.0,
    }  # fmt: skip
    if start is not None:
        # Copies with the shardings of `state`, because the programs were compiled for those.
        state = jax.tree.map(
            lambda new, old: jax.device_put(jnp.array(new, old.dtype), old.sharding),
            start.state, state,
        )  # fmt: skip
        best, progress = start.best or best, start.progress
    began = saved = time.monotonic()
    before = progress["seconds"]
    first = int(state.step)
    sizes = {path: leaf.size for path, leaf in tree.named_leaves(state.learned["mask"]).items()}
    density = None

    def save() -> None:
        progress["seconds"] = before + time.monotonic() - began
        checkpoints.save(Checkpoint(state, best if progress["has_best"] else None, dict(progress)))

    with (
        Records(folder, first) as records,
        Bar(title, settings.epochs * steps_per_epoch, first) as bar,
        deferred() as signals,
    ):
        for epoch in range(first // steps_per_epoch, settings.epochs):
            if progress["ended"]:
                break
            done = int(state.step) - epoch * steps_per_epoch
            if done == 0:
                state = state._replace(sums=jax.tree.map(jnp.zeros_like, state.sums))
            order = shuffled_order(settings.seed, epoch, train.examples, settings.batch_size)
            lengths = cut(steps_per_epoch - done, settings.scan_steps)
            for xs in train.chunks(order[done:], lengths):
                state = run.train(state, frozen, train.resident, xs)
                step = int(state.step)
                seen = (step - first) * settings.batch_size
                bar.update(step, seen, **state.sums.means(), density=density)
                last_scan = step == (epoch + 1) * steps_per_epoch
                if signals:
                    save()
                    raise Interrupted(signals[0])
                if not last_scan and time.monotonic() - saved >= settings.checkpoint_seconds:
                    save()
                    saved = time.monotonic()
            means = state.sums.means()
            if sizes:
                density = _kept(run, state, frozen) / sum(sizes.values())
            records.write(step, epoch + 1, "train", **means, density=density)
            result = {}
            if validation is not None:
                result = evaluate(
                    run, state.learned, state.batch_stats, frozen, validation,
                    settings.evaluation_batch,
                ).means()  # fmt: skip
                records.write(step, epoch + 1, "validation", **result)
            if epoch % max(settings.epochs // HISTOGRAMS, 1) == 0 or epoch + 1 == settings.epochs:
                records.histograms(step, tree.named_leaves(state.learned["mask"]))
            if _judge(progress, means, result, epoch + 1, settings):
                best = Best(*host_copy((state.learned, state.batch_stats)))
            final = progress["ended"] or epoch + 1 == settings.epochs
            if signals or final or time.monotonic() - saved >= settings.checkpoint_seconds:
                save()
                saved = time.monotonic()
            if signals and not final:
                raise Interrupted(signals[0])
    chosen = progress["chosen"] or {"epoch": 0}
    return Fit(
        learned=best.learned,
        batch_stats=best.batch_stats,
        validation={key: chosen[key] for key in ("loss", "accuracy") if key in chosen},
        epoch=chosen["epoch"],
        steps=int(state.step),
        seconds=before + time.monotonic() - began,
        stopped_early=progress["ended"] == "patience",
        diverged=progress["ended"] == "diverged",
    )


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
    lengths = cut(len(order), EVALUATED)
    total = None
    for xs, mask in zip(feed.chunks(order, lengths), np.split(valid, np.cumsum(lengths)[:-1])):
        sums = run.evaluate(learned, batch_stats, frozen, feed.resident, (xs, mask))
        total = sums if total is None else Sums(*(a + b for a, b in zip(total, sums)))
    return total if total is not None else Sums.zero()


def _judge(
    progress: dict[str, Any],
    training: dict[str, float],
    validation: dict[str, float],
    epoch: int,
    settings: Settings,
) -> bool:
    """Notes in `progress` whether the run ends here; says whether this epoch is the best yet."""
    if not np.isfinite(training["loss"]):
        progress["ended"] = "diverged"
        return False
    record = {"epoch": epoch, **validation}
    better = True
    if validation:
        if not np.isfinite(validation["loss"]):
            validation = {"loss": float("inf"), "accuracy": validation["accuracy"]}
        lowest = progress["lowest_loss"]
        if lowest is None or validation["loss"] < lowest:
            progress["lowest_loss"], progress["stale"] = validation["loss"], 0
        else:
            progress["stale"] += 1
        if settings.patience and progress["stale"] >= settings.patience:
            progress["ended"] = "patience"
        better = progress["chosen"] is None or _rank(record, settings.select) > _rank(
            progress["chosen"], settings.select
        )
    if better:
        progress["chosen"], progress["has_best"] = record, True
    return better


def _rank(validation: dict[str, float], select: str) -> tuple[float, float]:
    loss = -validation["loss"]
    return (loss, 0.0) if select == "loss" else (validation["accuracy"], loss)


def _kept(run: Programs, state: State, frozen: Tree) -> int:
    counts = jax.device_get(jax.tree.leaves(run.masks(state.learned, frozen)))
    return sum(int(count) for count in counts)
