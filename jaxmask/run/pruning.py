"""Pruning of a network by a config's criterion, shared by `prune` and `lottery`."""

import functools
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging
from ml_collections import ConfigDict

from jaxmask import model, prune, signals, tree
from jaxmask.errors import InputError, check_numbers
from jaxmask.mask.check import check_scope
from jaxmask.run.criteria import Criterion, Subject, criterion
from jaxmask.run.programs import shared
from jaxmask.run.seeds import named_key, number
from jaxmask.run.task import Task, axes, shapes

Variables = dict[str, Any]


class Pruner(NamedTuple):
    """The config's criterion for the task's network.

    Attributes:
      criterion: with its settings.
      labels: "mask" for weights that may be pruned, "train" for others.
      prune: (variables, density, begin, among, where) -> (mask, prune.Report): the mask is a tree
        of bool with None where nothing is pruned; `among` is the mask to start from, `begin` its
        density; `where` is added to the criterion in messages.
      keep: (scores, density, among, where) -> the same from given scores.
    """

    criterion: Criterion
    labels: Any
    prune: Callable[..., tuple[Any, prune.Report]]
    keep: Callable[..., tuple[Any, prune.Report]]


def make_pruner(task: Task, config: ConfigDict) -> Pruner:
    """Checks a pruning config; nothing is scored yet.

    Raises:
      InputError: a field has an invalid value, or there is nothing to prune.
    """
    chosen = criterion(config.criterion)
    prune.densities(config.density, config.shots, config.shot_schedule)
    check_scope(config.scope)
    scoring = config.scoring
    if scoring.mode not in ("eval", "train"):
        raise InputError(f"scoring.mode is {scoring.mode!r}; it must be 'eval' or 'train'")
    check_numbers("scoring.batch_size", [scoring.batch_size], 1)
    check_numbers("scoring.examples_per_class", [scoring.examples_per_class], 0)
    if chosen.single_examples and scoring.mode == "train":
        raise InputError(
            f"the criterion {chosen.name!r} takes gradients of single examples, which have no "
            "batch statistics: set scoring.mode to 'eval'"
        )
    if chosen.needs_data and not scoring.examples_per_class and config.density != 1:
        raise InputError(
            f"the criterion {chosen.name!r} scores weights on data: "
            "set scoring.examples_per_class above 0"
        )
    labels, words = pruned_labels(task, config), axes(task, config)
    tie_key = named_key(config.seed, "prune/ties")
    scores = _scorer(
        task, chosen, config.criterion, int(scoring.batch_size), scoring.mode == "train"
    )

    @functools.cache
    def batch() -> tuple[jax.Array, ...]:
        if not chosen.needs_data:
            return ()
        seed = number(config.seed, "prune/batch")
        return scoring_batch(task.dataset.train, scoring.examples_per_class, seed)

    def apply(
        variables: Variables, density: Any, begin: Any = 1.0, among: Any = None, where: str = ""
    ) -> tuple[Any, prune.Report]:
        signals.obey()
        weights = tree.partition(variables["params"], labels)
        rest = tree.combine(weights["train"], weights["freeze"])
        key = named_key(config.seed, "prune/scores")
        with jax.enable_x64(True) if chosen.double else nullcontext():
            dtype = jnp.float64 if chosen.double else jnp.float32
            w, rest, stats = jax.tree.map(
                lambda leaf: jnp.asarray(leaf, dtype),
                (weights["mask"], rest, variables["batch_stats"]),
            )
            scorer = jax.tree_util.Partial(scores, rest, stats, key)
            pruner = prune.multi_shot(
                scorer, density, config.shots, config.shot_schedule, config.scope, tie_key,
                report=True, begin=begin, axes=words,
            )  # fmt: skip
            masks, report = pruner(w, *batch(), among=among)
        check_report(weights["mask"], report, f"{config.criterion}{where}")
        return masks, report

    def keep(scores: Any, density: Any, among: Any, where: str) -> tuple[Any, prune.Report]:
        pruner = prune.one_shot(
            jax.tree_util.Partial(_given, scores), density, config.scope, tie_key, report=True,
            axes=words,
        )  # fmt: skip
        masks, report = pruner(scores, among=among)
        check_report(scores, report, f"{config.criterion}{where}")
        return masks, report

    return Pruner(chosen, labels, apply, keep)


def _given(scores: Any, w: Any, *batch: Any) -> Any:
    del w, batch
    return scores


def _scorer(
    task: Task, chosen: Criterion, text: str, batch_size: int, train: bool
) -> Callable[..., Any]:
    """The criterion as a function of all its arrays: a single object, so compiled once for all
    seeds, densities and starting weights."""

    def build() -> Callable[..., Any]:
        module: Any = task.module.clone(dtype=jnp.float64) if chosen.double else task.module
        network = model.apply_function(module)

        def apply(parameters: Any, stats: Any, images: jax.Array, train: bool) -> Any:
            if jnp.issubdtype(images.dtype, jnp.integer):
                images = task.augment(None, images)
            return network(parameters, stats, images, train)

        def scores(rest: Any, stats: Any, key: jax.Array, w: Any, *batch: Any) -> Any:
            at = Subject(apply, rest, stats, key, task.image_shape, batch_size, train)
            return chosen.scorer(at)(w, *batch)

        return scores

    return shared("scorer", f"{task.identity} {text} {batch_size} {train}", build)


def pruned_labels(task: Task, config: ConfigDict) -> Any:
    """The label of each parameter: may be pruned ("mask"), trained whole, or frozen."""
    labels = tree.label(shapes(task)["params"], config.rules, default="train")
    if not any(label == "mask" for label in jax.tree.leaves(labels)):
        raise InputError("there is nothing to prune: label some weights 'mask' in config.rules")
    return labels


def scoring_batch(split: Any, examples_per_class: int, seed: int) -> tuple[jax.Array, jax.Array]:
    """`examples_per_class` random training examples of every class: uint8 images, int32 labels.

    A class with fewer gives all of them.
    """
    labels = np.asarray(split.labels)
    order = np.random.default_rng(seed).permutation(len(labels))
    shuffled = labels[order]
    chosen = [order[shuffled == label][:examples_per_class] for label in np.unique(labels)]
    indices = np.sort(np.concatenate(chosen))
    return jnp.asarray(split.images[indices]), jnp.asarray(labels[indices], jnp.int32)


def check_report(weights: Any, report: prune.Report, what: str) -> None:
    """Raises InputError for useless scores, and warns of emptied layers."""
    names = tree.paths(weights)
    found = jax.device_get(report)
    for name, shot in zip(names, found.not_finite):
        if shot:
            raise InputError(
                f"{what}: the scores of {name!r} are not finite at shot {shot}; "
                "lower the learning rate, or use another criterion or initialization"
            )
    if found.all_zero:
        raise InputError(
            f"{what}: every score is zero at shot {found.all_zero}, so the choice would be random; "
            "use another criterion, or a higher density"
        )
    for name, shot in zip(names, found.emptied):
        if shot:
            logging.warning("%s: nothing is left of layer %r after shot %d", what, name, shot)
