"""Learners of scores side by side: how well they predict the tickets of the test seeds."""

from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from jaxmask.report import groups, significance, summary
from jaxmask.run.result import read

RECIPE = "learn_scores"
METRICS = {"found": "found in %", "r2": "R²", "mse": "MSE", "rank_correlation": "rank correlation"}
# which learners there are beside one, and where tickets are kept, changes nothing for it
NO_SETTING = ("config.learners", "config.tuned", "config.tickets")
CAPTION = (
    "Learners of scores on the tickets of test seeds, at the target density: mean ± sample "
    "standard deviation over {seeds}. Found: the share of a ticket's weights among as many of the "
    "highest predictions. R² and MSE (mean squared error): of the target, over all weights; R² "
    "(train): of the seeds fitted to. Rank correlation: Spearman's. A criterion alone: its scores "
    "in place of predictions."
)


class Learners(NamedTuple):
    """A part of a report.

    Attributes:
      rows: one per run and learner, and per run and feature alone: the columns of `collect.collect`
        with the learner as `method`, its `settings`, and `METRIC_SPLIT` for all of both.
      groups: `significance.compare` of what they find of the test seeds' tickets.
      table, caption: of their means.
    """

    rows: pd.DataFrame
    groups: pd.DataFrame
    table: pd.DataFrame
    caption: str


def make(runs: pd.DataFrame, baseline: str | None = None) -> Learners | None:
    """The learners of runs of the recipe `learn_scores`; None if there are none.

    Args:
      runs: of `collect.collect`.
      baseline: a learner that the others are tested against.

    Raises:
      InputError: a result cannot be read; there is no such baseline.
    """
    own = runs[runs["recipe"] == RECIPE].drop(columns=list(NO_SETTING), errors="ignore")
    if own.empty:
        return None
    rows = pd.DataFrame([each for line in own.to_dict("records") for each in _expanded(line)])
    names = {f"{metric}_test": title for metric, title in METRICS.items()} | {
        "r2_train": f"{METRICS['r2']} (train)"
    }
    cells: dict[str, dict[str, str]] = {}
    shares = significance.compare(rows, baseline, "found_test")
    for name, title in names.items():
        found = groups.summarize(rows, name)
        found = found.assign(series=groups.series(found, groups.further(found)))
        for line in found.to_dict("records"):
            cells.setdefault(line["series"], {})[title] = _cell(name, line)
    titles = list(names.values())
    lines = [[series, *(row.get(title, "") for title in titles)] for series, row in cells.items()]
    table = pd.DataFrame(lines, columns=["learner", *titles])
    return Learners(rows, shares, table, CAPTION.format(seeds=summary.seeds(shares)))


def _expanded(line: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of a run: its learners, then its features alone."""
    told = read(Path(line["folder"])).more
    rows = [
        {**line, "method": name, "settings": each["settings"],
         **{f"{metric}_{split}": each[split][metric]
            for split in ("train", "validation", "test") for metric in METRICS}}
        for name, each in told["learners"].items()
    ]  # fmt: skip
    alone = told["found_by_feature"].items()
    return rows + [
        {**line, "method": f"{name} alone", "found_test": share} for name, share in alone
    ]


def _cell(name: str, line: dict[str, Any]) -> str:
    factor, form = (100, ".2f") if name.startswith("found") else (1, ".3g")
    spread = f" ± {factor * line['std']:{form}}" if line["count"] > 1 else ""
    return f"{factor * line['mean']:{form}}{spread}"
