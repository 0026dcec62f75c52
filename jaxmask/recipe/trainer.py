"""A config's training section as one function that trains, compiled once for all rates."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from jaxmask import tree
from jaxmask.errors import InputError
from jaxmask.loss import cross_entropy
from jaxmask.mask import MaskTransform, selective
from jaxmask.recipe.setup import Task, named_key, number
from jaxmask.train import cost, epoch, feed, loop, optimiser
from jaxmask.train.state import Problem, State, initial

RATES = {"learning_rate": "train", "mask_learning_rate": "mask"}


class Trainer(NamedTuple):
    """One method on one task.

    `learned` is a dict of "mask" (scores) and "train" (weights); `frozen` of "mask" (the weights
    that the scores mask), "freeze", and "selected" where only some of the scores are trainable.

    Attributes:
      fit: (learned, frozen, batch_stats, rates, name, folder, title) -> loop.Fit. `rates` has the
        peak rates that differ from the config's, by field; `name` is where randomness comes from.
      test: (learned, frozen, batch_stats, split) -> {"loss", "accuracy"} over a whole split.
    """

    fit: Callable[..., loop.Fit]
    test: Callable[..., dict[str, float]]


def masking(transform: MaskTransform, frozen: Any) -> MaskTransform:
    """The transform, with only the scores that `frozen` selects trainable, where it selects any."""
    return selective(transform, frozen["selected"]) if "selected" in frozen else transform


def make_trainer(
    task: Task, config: ConfigDict, transform: MaskTransform | None, seed: int
) -> Trainer:
    """Builds what a training section describes; nothing is compiled before the first fit.

    Args:
      config: the section, see `defaults.train`.
      transform: how scores mask weights; None where nothing is masked.

    Raises:
      InputError: a field has a value that cannot be used.
    """
    check_training(config)
    examples = len(task.dataset.train.labels)
    feed.check_batch(config.batch_size, examples, task.mesh)
    steps_per_epoch = examples // config.batch_size
    steps = steps_per_epoch * config.epochs
    course = optimiser.schedule(config.schedule, steps, steps_per_epoch)
    groups = {
        "mask": optimiser.optimiser(config.mask_optimiser, course, config.clip),
        "train": optimiser.optimiser(config.optimiser, course, config.clip),
    }
    together = optimiser.grouped(groups)

    def weights(learned: Any, frozen: Any) -> Any:
        masked = frozen["mask"]
        if transform is not None:
            masked = masking(transform, frozen).apply(learned["mask"], masked)
        return tree.combine(masked, learned["train"], frozen["freeze"])

    def masks(learned: Any, frozen: Any) -> Any:
        return masking(transform, frozen).mask(learned["mask"]) if transform is not None else {}

    problem = Problem(
        weights=weights,
        masks=masks,
        network=task.network,
        augment=task.augment,
        loss=lambda logits, labels: cross_entropy(logits, labels, config.label_smoothing),
    )
    evaluation_batch = -(-config.evaluation_batch // task.mesh.size) * task.mesh.size
    made: dict[str, Any] = {}

    def feeds() -> tuple[feed.Feed, feed.Feed | None]:
        if "train" not in made:
            made["train"] = task.feed(task.dataset.train)
            held_out = task.dataset.validation
            made["validation"] = task.feed(held_out) if len(held_out.labels) else None
        return made["train"], made["validation"]

    def compiled() -> epoch.Programs:
        if "programs" not in made:
            train, _ = feeds()
            made["programs"] = epoch.programs(problem, together, train.fetch, task.mesh)
        return made["programs"]

    def settings(state: State, frozen: Any, name: str) -> loop.Settings:
        train, _ = feeds()
        if "scan_steps" not in made:
            order = np.zeros((1, config.batch_size), np.int32)
            xs = next(iter(train.chunks(order, [1])))
            x = jax.tree.map(lambda leaf: leaf[0], xs)
            made["scan_steps"] = config.scan_steps or cost.scan_steps(
                compiled().step, state, frozen, train.resident, x
            )
        return loop.Settings(
            epochs=config.epochs,
            batch_size=config.batch_size,
            evaluation_batch=evaluation_batch,
            patience=config.patience,
            select=config.select,
            checkpoint_seconds=config.checkpoint_seconds,
            scan_steps=made["scan_steps"],
            seed=number(seed, f"{name}/order"),
        )

    def fit(
        learned: Any,
        frozen: Any,
        batch_stats: Any,
        rates: dict[str, float],
        name: str,
        folder: Path,
        title: str,
    ) -> loop.Fit:
        state = initial(learned, batch_stats, together, named_key(seed, f"{name}/train"))
        peaks = {field: rates.get(field, config[field]) for field in RATES}
        state = state._replace(
            optimiser={
                group: optimiser.set_peak(state.optimiser[group], peaks[field])
                for field, group in RATES.items()
            }
        )
        state, frozen = feed.replicate((state, frozen), task.mesh)
        train, validation = feeds()
        return loop.fit(
            compiled(), state, frozen, train, validation,
            settings(state, frozen, name), folder, title,
        )  # fmt: skip

    def test(learned: Any, frozen: Any, batch_stats: Any, split: Any) -> dict[str, float]:
        learned, batch_stats, frozen = feed.replicate((learned, batch_stats, frozen), task.mesh)
        whole = task.feed(split)
        sums = loop.evaluate(compiled(), learned, batch_stats, frozen, whole, evaluation_batch)
        return sums.means()

    return Trainer(fit, test)


def check_training(config: ConfigDict) -> None:
    """Raises InputError, naming the field, where a number cannot be used."""
    at_least = {
        "epochs": 1, "batch_size": 1, "evaluation_batch": 1, "patience": 0, "clip": 0.0,
        "checkpoint_seconds": 0.0, "scan_steps": 0, "learning_rate": 0.0,
        "mask_learning_rate": 0.0, "label_smoothing": 0.0,
    }  # fmt: skip
    for field, least in at_least.items():
        if not config[field] >= least:
            raise InputError(f"train.{field} is {config[field]}; it must be at least {least}")
    if config.label_smoothing >= 1:
        raise InputError(f"train.label_smoothing is {config.label_smoothing}; it must be below 1")
    if config.select not in ("accuracy", "loss"):
        raise InputError(f"train.select is {config.select!r}; it is 'accuracy' or 'loss'")
