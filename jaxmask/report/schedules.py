"""Each criterion in other schedules than its own: the change of a metric, paired by seed."""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from jaxmask.report import groups, published, significance, summary

# in which a criterion was first published, where it is not in one shot before training
FIRST = {"magnitude": "ISS", "synflow": "UMS"}
ORDER = ("USS", "UMS", "ISS", "IMS")
# what a schedule is made of; two runs that differ in any other field differ in more than that
FIELDS = ("recipe", "shots", "rounds", "config.shot_schedule", "config.round_schedule",
          "config.rewind_step")  # fmt: skip
COLUMNS = ("difference", "std", "pairs", "t", "p")


def own(criterion: str, schedules: Sequence[str]) -> str:
    """Which of the schedules is the criterion's own: as first published, or else the first.

    Magnitude's is ISS (iterative magnitude pruning), SynFlow's UMS, that of all others USS.

    Example:
      >>> own("synflow()", ["USS", "UMS", "ISS"]), own("synflow()", ["ISS", "USS"])
      ('UMS', 'USS')
    """
    name = re.match(r"\w*", criterion)
    wanted = FIRST.get(name[0] if name else "", "USS")
    order = [wanted, *ORDER]
    return min(schedules, key=lambda each: (order.index(each) if each in order else 9, each))


def contexts(table: pd.DataFrame, keys: Sequence[str]) -> list[str]:
    """What each row has in the columns that must be equal to compare schedules or criteria: all
    of a setting but those of a schedule.

    Args:
      keys: the columns of a setting, from `groups.settings`.
    """
    columns = [name for name in keys if name not in (*groups.KEYS, *FIELDS)]
    text = groups.series(table.assign(method="", schedule=""), columns)
    return [each.removeprefix(", ") for each in text]


def of_each(table: pd.DataFrame, keys: Sequence[str]) -> list[str]:
    """The own schedule of each row's criterion, of those that it has in the row's context."""
    placed = table.assign(context=contexts(table, keys))
    known = placed.groupby(["method", "context"])["schedule"].unique()
    chosen = {at: own(at[0], list(known[at])) for at in known.index}
    return [chosen[at] for at in zip(placed["method"], placed["context"])]


def changes(frame: pd.DataFrame, metric: str = "accuracy") -> pd.DataFrame:
    """One row per setting in another schedule than its criterion's own, at the same density.

    Columns: those of the setting, `own`, `series` and `context`; `difference`: the mean over
    seeds of the metric less that in the own schedule, of runs with equal initial weights; `std`:
    the sample standard deviation of these differences; `pairs`: how many; `t`, `p`: the paired
    t-test; `p_holm`, `stars`: corrected over the rows. A setting without such pairs, or with
    several settings to compare with, has no row.

    Args:
      frame: of `collect.collect`.
      metric: a column of numbers.
    """
    runs, keys = groups.by_seed(frame, metric)
    runs = runs[(runs["method"] != groups.DENSE) & runs["target_density"].notna()]
    if runs.empty:
        return pd.DataFrame(
            columns=[*keys, "own", "series", "context", *COLUMNS, "p_holm", "stars"]
        )
    runs = runs.assign(own=of_each(runs, keys), context=contexts(runs, keys),
                       series=groups.series(runs, keys[len(groups.KEYS) :]))  # fmt: skip
    settings = ["target_density", "series"]
    rows: list[dict[str, Any]] = []
    for _, part in runs.groupby(["method", "context", "target_density"], sort=False):
        base = part[part["schedule"] == part["own"]]
        if base["series"].nunique() != 1:
            continue
        for _, other in part[part["schedule"] != part["own"]].groupby(settings, sort=False):
            pairs = significance.pairs(other, base)
            if len(pairs):
                first = other.iloc[0][[*keys, "own", "series", "context"]].to_dict()
                rows.append({**first, **_tested(pairs["value"], pairs["value_baseline"])})
    table = pd.DataFrame(rows, columns=[*keys, "own", "series", "context", *COLUMNS])
    corrected = significance.holm(table["p"].astype("float64"))
    table = table.assign(p_holm=corrected, stars=[significance.stars(p) for p in corrected])
    return groups.ordered(table, ["series"]) if len(table) else table


def tables(
    frame: pd.DataFrame, metric: str, beside: published.Published | None = None
) -> list[tuple[pd.DataFrame, str]]:
    """`changes` to read, with its caption: a row per setting, a column per density; none if empty.

    Args:
      beside: of `published.read`; where it has both schedules, their difference follows.
    """
    found = changes(frame, metric)
    if found.empty:
        return []
    percent = summary.share(metric)
    factor, form = (100, "+.2f") if percent else (1, "+.4g")
    cells, shown = {}, False
    for line in found.to_dict("records"):
        text = f"{factor * line['difference']:{form}}"
        if line["pairs"] > 1:
            text += f" ± {factor * line['std']:{form[1:]}}"
        told = _published(beside or {}, line)
        shown |= told is not None
        text += line["stars"] + ("" if told is None else f" ({told:{form}})")
        cells[line["series"], line["own"], line["target_density"]] = text
    densities = sorted(found["target_density"].unique(), reverse=True)
    rows = dict.fromkeys(zip(found["series"], found["own"]))
    lines = [[f"{name}, less {base}", *(cells.get((name, base, each), "") for each in densities)]
             for name, base in rows]  # fmt: skip
    table = pd.DataFrame(lines, columns=["method", *summary.heads(densities)])
    return [(table, _caption(found, metric, shown))]


def _caption(found: pd.DataFrame, metric: str, shown: bool) -> str:
    name = summary.title(metric).removesuffix(" in %")
    unit = " in percentage points" if summary.share(metric) else ""
    least, most = int(found["pairs"].min()), int(found["pairs"].max())
    count = f"{most}" if least == most else f"{least} to {most}"
    return (
        f"Change of {name}{unit} against the criterion's own schedule (magnitude: ISS, synflow: "
        f"UMS, others: USS; if there are no such runs, the first there is) at the same density: "
        f"mean ± sample standard deviation of the differences of {count} pairs of runs with equal "
        "seeds and initial weights. * p < 0.05, ** p < 0.01, *** p < 0.001: paired t-test, "
        f"Holm-corrected over the {int(found['p'].notna().sum())} comparisons of this table."
        + (" In parentheses: the difference of published figures." if shown else "")
    )


def _tested(one: pd.Series, two: pd.Series) -> dict[str, float]:
    differences = one.to_numpy(np.float64) - two.to_numpy(np.float64)
    t, p = significance.paired(one, two)
    std = differences.std(ddof=1) if len(differences) > 1 else np.nan
    return dict(zip(COLUMNS, (differences.mean(), std, len(differences), t, p)))


def _published(beside: published.Published, line: dict[str, Any]) -> float | None:
    """The difference of two published figures, in their unit: that of the table."""
    density = line["target_density"]
    labels = [groups.label(line["method"], name) for name in (line["schedule"], line["own"])]
    try:
        one, two = (float(published.at(beside, label, density)) for label in labels)
    except ValueError:  # missing, or a text
        return None
    return one - two
