"""The rows that scores are learned from: features and targets of every weight of a lottery."""

from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from ml_collections import ConfigDict

from jaxmask import mask, prune, score, signals, tree
from jaxmask.errors import InputError
from jaxmask.model import weights as weights_file
from jaxmask.run import starting, ticket
from jaxmask.run.composites import composed, criterion, feature, scorers_of
from jaxmask.run.criteria import Criterion, Subject
from jaxmask.run.features import UNSCALED
from jaxmask.run.initializer import make_initializer
from jaxmask.run.scoring import Scoring, check_usable, make_scoring
from jaxmask.run.task import Task, shapes

TARGETS = ("scores", "kept")


class Table(NamedTuple):
    """A row for each weight of one ticket, in the order of the leaves.

    Attributes:
      x: float32 [N, F], the features of the initial weights.
      y: float32 [N], the targets, in [0, 1].
      kept: bool [N], the ticket.
    """

    x: np.ndarray
    y: np.ndarray
    kept: np.ndarray


def scales_of(config: ConfigDict) -> tuple[str, ...]:
    """The scale of each of the config's features."""
    return tuple("none" if text in UNSCALED else config.scale for text in config.features)


def rows_of(config: ConfigDict) -> Criterion:
    """The config's features, as a criterion that gives rows [N, F] in place of a tree.

    Raises:
      InputError: a feature or the scale is unknown.
    """
    parts, scales = tuple(map(feature, config.features)), scales_of(config)
    score.features(parts, scales)  # type: ignore[arg-type]  # raises for what cannot be

    def build(at: Subject) -> Any:
        return score.features(scorers_of(parts, at), scales)

    return composed("features", build, parts)


def tables(config: ConfigDict, own: ConfigDict, folder: Path, shared: Path | None) -> list[Table]:
    """The tables of a finished lottery, one for each of `config.levels`.

    Args:
      config: of the recipe `learn_scores`.
      own: that of the lottery, whose run directory is `folder`.

    Raises:
      InputError: features or targets are not finite, or all zero; a file is damaged.
    """
    task, start = starting.task_of(own)
    initial = ticket.initial_weights(task, start, own, folder, shared, make_initializer(task, own))
    shares = prune.densities(own.density, own.rounds, own.round_schedule)
    found = []
    for level in levels_of(config):
        signals.obey()
        at = own.copy_and_resolve_references()
        at.density = shares[level - 1]
        x = _features(task, at, rows_of(config), config, initial.variables)
        labels = criterion_scoring(task, at).labels
        masks = ticket.stored_mask(
            folder / f"level_{level:02d}", ticket.all_kept(initial.variables, labels)
        )
        if masks is None:
            raise InputError(f"{folder} has no ticket of level {level}; delete it and rerun")
        kept = _flat(masks).astype(bool)
        if config.target == "kept":
            y = kept.astype(np.float32)
        else:
            y = _last_scores(task, at, folder / f"level_{level - 1:02d}", masks, kept)
        found.append(Table(x, y, kept))
    return found


def levels_of(config: ConfigDict) -> tuple[int, ...]:
    """The rounds whose tickets are learned."""
    return tuple(config.levels) or (config.rounds,)


def criterion_scoring(task: Task, own: ConfigDict) -> Scoring:
    """The criterion of the tickets."""
    return make_scoring(task, own, criterion(own.criterion), own.criterion, "prune")


@jax.jit
def _called(scorer: Partial, w: Any, *batch: Any) -> Any:
    return scorer(w, *batch)


def _features(
    task: Task, own: ConfigDict, rows: Criterion, config: ConfigDict, variables: Any
) -> np.ndarray:
    text = f"features {tuple(config.features)} {config.scale}"
    scoring = make_scoring(task, own, rows, text, "prune")
    with scoring.precision():
        scorer, w = scoring.ready(variables)
        x = np.asarray(_called(scorer, w, *scoring.batch()))
    for name, column in zip(config.features, x.T):
        if not np.isfinite(column).all():
            raise InputError(
                f"feature {name!r} of the initial weights of seed {own.seed} is not finite, or all "
                "zero; leave it out, or use another initialization"
            )
    return x


def _last_scores(
    task: Task, own: ConfigDict, before: Path, masks: Any, kept: np.ndarray
) -> np.ndarray:
    """The criterion's scores of what is left of the weights that the round pruned, in [0, 1]."""
    path = before / weights_file.NAME
    weights, _ = weights_file.load(path)
    like = shapes(task)
    leaves = tree.align(like, {"batch_stats": {}, **weights}, str(path))
    trained = jax.tree.unflatten(jax.tree.structure(like), [jnp.asarray(leaf) for leaf in leaves])
    scoring = criterion_scoring(task, own)
    with scoring.precision():
        scorer, w = scoring.ready(trained)
        left = mask.pruned(masks, w)
        found = _called(scorer, left, *scoring.batch())
        check_usable(f"{own.criterion} gives the ticket of seed {own.seed}", left, found)
        s = _flat(found)
    return scaled(s, kept)


def scaled(s: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Scores of what is kept in [0, 1], 0 for all others; of negative ones, the least becomes 0."""
    least = min(float(s[kept].min()), 0.0)
    span = float(s[kept].max()) - least
    return np.where(kept, (s - least) / (span or 1.0), 0.0).astype(np.float32)


def _flat(leaves: Any) -> np.ndarray:
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(jax.device_get(leaves))])
