"""Pruning of a network by a config's criterion, shared by `prune` and `lottery`."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from absl import logging
from ml_collections import ConfigDict

from jaxmask import mask, prune, signals, tree
from jaxmask.errors import InputError
from jaxmask.mask.check import check_scope
from jaxmask.run.composites import criterion
from jaxmask.run.criteria import Criterion
from jaxmask.run.scoring import Scoring, check_usable, make_scoring
from jaxmask.run.seeds import named_key
from jaxmask.run.task import Task, axes

Variables = dict[str, Any]


class Pruner(NamedTuple):
    """The config's criterion for the task's network.

    Attributes:
      criterion: with its settings.
      labels: "mask" for weights that may be pruned, "train" for others.
      prune: (variables, density, begin, among, where, summed) -> (mask, prune.Report): the mask is
        a tree of bool with None where nothing is pruned; `among` is the mask to start from,
        `begin` its density; `where` is added to the criterion in messages; `summed` are scores
        summed over training, for criteria that use them.
    """

    criterion: Criterion
    labels: Any
    prune: Callable[..., tuple[Any, prune.Report]]


def make_pruner(task: Task, config: ConfigDict) -> Pruner:
    """Checks a pruning config; nothing is scored yet.

    Raises:
      InputError: a field has an invalid value, or there is nothing to prune.
    """
    if not config.mask_from:
        prune.densities(config.density, config.shots, config.shot_schedule)
    check_scope(config.scope)
    chosen, used = criterion(config.criterion), config.density != 1 and not config.mask_from
    scoring = make_scoring(task, config, chosen, config.criterion, "prune", used)
    words, ties = axes(task, config), named_key(config.seed, "prune/ties")

    def shots(scorer: Any, density: Any, count: int, begin: Any) -> Callable[..., Any]:
        return prune.multi_shot(
            scorer, density, count, config.shot_schedule, config.scope, ties,
            monotone=not chosen.revives, report=True, begin=begin, axes=words,
        )  # fmt: skip

    def apply(
        variables: Variables, density: Any, begin: Any = 1.0, among: Any = None, where: str = "",
        summed: Any = None,
    ) -> tuple[Any, prune.Report]:  # fmt: skip
        signals.obey()
        with scoring.precision():
            scorer, w = scoring.ready(variables, summed)
            masks, report = shots(scorer, density, config.shots, begin)(
                w, *scoring.batch(), among=among
            )
            what = f"{config.criterion}{where}"
            shot = _failed(report)
            if shot and chosen.parts:
                kept = among
                if shot > 1:
                    before = prune.densities(density, config.shots, config.shot_schedule, begin)
                    again = shots(scorer, before[shot - 2], shot - 1, begin)
                    kept, _ = again(w, *scoring.batch(), among=among)
                _explain(scoring, variables, summed, kept, f"{what}: at shot {shot}")
        check_report(w, report, what)
        return masks, report

    return Pruner(chosen, scoring.labels, apply)


def _failed(report: prune.Report) -> int:
    """The first shot whose scores said nothing; 0: none."""
    found = np.ravel([*np.ravel(report.not_finite), report.all_zero])
    return int(min(found[found > 0], default=0))


def _explain(scoring: Scoring, variables: Variables, summed: Any, kept: Any, what: str) -> None:
    """Raises InputError if a part of a composite passes on scores that the next cannot use."""

    def passes(first: str, second: str, w: Any, scores: Any) -> None:
        check_usable(f"{what}, {first} gives {second}", w, scores)

    scorer, w = scoring.ready(variables, summed, passes)
    w = w if kept is None else mask.pruned(kept, w)
    scorer(w, *scoring.batch())


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
