"""Learners fitted to the tickets of some initializations and measured on those of others."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from jaxmask.errors import InputError
from jaxmask.run import regressors, score_table
from jaxmask.run.learners import Rows, learner
from jaxmask.run.regressors import LearnedScores, Regressor
from jaxmask.run.score_table import Table
from jaxmask.run.seeds import number

SPLITS = ("train", "validation", "test")
Tables = Mapping[str, Sequence[Table]]  # by the names of the splits


class Candidate(NamedTuple):
    """A learner, fitted.

    Attributes:
      text: with its settings.
      metrics: by split; see `measured`.
      curve: mean squared errors of training and validation rows by epoch; () of most learners.
    """

    text: str
    regressor: Regressor
    metrics: Mapping[str, Mapping[str, float]]
    curve: Sequence[Sequence[float]] = ()


def fitted(config: ConfigDict, tables: Tables, folder: Path) -> dict[str, Candidate]:
    """The config's learners, then its tuned ones, each stored in a folder of its name.

    What an earlier attempt has stored is not fitted again.
    """
    rows = {name: joined(each) for name, each in tables.items()}
    found = {}
    for name, texts in named(config).items():
        path = folder / name / regressors.NAME
        if path.exists():
            stored = regressors.load(path)
            text, curve = str(stored.about["learner"]), stored.about.get("curve", ())
            metrics = measured(stored.regressor, tables)
            found[name] = Candidate(text, stored.regressor, metrics, curve)
            continue
        tried = [_fit(text, rows, tables, config.seed) for text in texts]
        best = max(tried, key=lambda each: each.metrics["validation"]["found"])
        about = {
            "learner": best.text,
            "network": config.network.name,
            "dataset": config.data.name,
            "criterion": config.criterion,
            "density": float(config.density),
            "target": config.target,
            "train_seeds": list(config.train_seeds),
            "metrics": best.metrics,
            "curve": best.curve,
        }
        regressors.save(
            path,
            LearnedScores(
                best.regressor, tuple(config.features), score_table.scales_of(config), about
            ),
        )
        found[name] = best
    return found


def named(config: ConfigDict) -> dict[str, list[str]]:
    """The settings to try of each learner, by the name of its folder.

    Raises:
      InputError: a learner is unknown or does not take its settings, or a name is given twice.
    """
    found: dict[str, list[str]] = {}
    for text in config.learners:
        name = learner(text).name
        if name in found:
            raise InputError(f"learners has {name!r} twice; give further settings of it in tuned")
        found[name] = [text]
    for text in config.tuned:
        found.setdefault(f"{learner(text).name}_tuned", []).append(text)
    if not found:
        raise InputError("learners and tuned are empty; give at least one learner")
    return found


def _fit(text: str, rows: Mapping[str, Rows], tables: Tables, seed: int) -> Candidate:
    made = learner(text).fit(rows["train"], rows["validation"], number(seed, f"learner/{text}"))
    return Candidate(text, made.regressor, measured(made.regressor, tables), made.curve)


def joined(tables: Sequence[Table]) -> Rows:
    """The rows of several tables."""
    return Rows(np.concatenate([each.x for each in tables]),
                np.concatenate([each.y for each in tables]))  # fmt: skip


def measured(regressor: Regressor, tables: Tables) -> dict[str, dict[str, float]]:
    """How well a regressor predicts the rows of each split.

    `r2` and `mse` (NaN for `r2` if all targets are the same); `rank_correlation`, Spearman's, with
    the target; `found`, the share of a ticket's weights among as many of the highest predictions, a
    mean over tickets.
    """
    predict = jax.jit(regressor.predictor())
    return {
        split: metrics(each, [np.asarray(predict(table.x), np.float64) for table in each])
        for split, each in tables.items()
    }


def metrics(tables: Sequence[Table], predicted: Sequence[np.ndarray]) -> dict[str, float]:
    """See `measured`."""
    y = np.concatenate([each.y for each in tables]).astype(np.float64)
    s = np.concatenate(predicted)
    mse, spread = float(np.mean((s - y) ** 2)), float(np.var(y))
    shares = [found(table.kept, each) for table, each in zip(tables, predicted)]
    return {
        "r2": 1 - mse / spread if spread else float("nan"),
        "mse": mse,
        "rank_correlation": rank_correlation(s, y),
        "found": float(np.mean(shares)),
    }


def found(kept: np.ndarray, s: np.ndarray) -> float:
    """The share of the ticket's weights among the highest scores; ties are broken at random."""
    order = np.random.default_rng(0).permutation(len(s))
    highest = order[np.argsort(-s[order], kind="stable")[: kept.sum()]]
    return float(kept[highest].mean())


def rank_correlation(s: np.ndarray, y: np.ndarray) -> float:
    """Spearman's; NaN if all of one are the same."""
    from scipy.stats import rankdata

    return correlations(np.stack([rankdata(s), rankdata(y)]))[0][1]


def correlations(columns: np.ndarray) -> list[list[float]]:
    """Pearson's, of all pairs of rows of an array; NaN for a constant one."""
    centered = columns - columns.mean(axis=1, keepdims=True)
    sizes = np.sqrt(np.sum(centered**2, axis=1))
    with np.errstate(invalid="ignore", divide="ignore"):
        return (centered @ centered.T / np.outer(sizes, sizes)).tolist()


def check(config: ConfigDict) -> None:
    """Raises InputError for fields of the recipe `learn_scores` that cannot be."""
    seen: dict[Any, str] = {}
    for split in SPLITS:
        field = f"{split}_seeds"
        if not config[field]:
            raise InputError(f"{field} is empty; give at least one seed")
        for seed in config[field]:
            if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**32:
                raise InputError(f"{field} has {seed!r}; give whole numbers from 0, below 2^32")
            if seed in seen:
                raise InputError(
                    f"seed {seed} is in {seen[seed]} and {field}; a ticket is learned, tuned by or "
                    "measured on, not two of them"
                )
            seen[seed] = field
    for level in config.levels:
        if isinstance(level, bool) or not isinstance(level, int) or not 1 <= level <= config.rounds:
            raise InputError(f"levels has {level!r}; give rounds from 1 to {config.rounds}")
    if config.target not in score_table.TARGETS:
        raise InputError(f"target is {config.target!r}; it must be 'scores' or 'kept'")
    if config.scale not in ("values", "ranks"):
        raise InputError(f"scale is {config.scale!r}; it must be 'values' or 'ranks'")
    if not all(
        isinstance(each, str) for each in (*config.features, *config.learners, *config.tuned)
    ):
        raise InputError(
            f"features, learners and tuned are texts, not {json.dumps(list(config.features))[:99]}"
        )
    named(config)
