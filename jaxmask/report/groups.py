"""Which runs are repetitions of one setting: they differ only in their seed."""

import re
from collections.abc import Sequence
from typing import Any

import pandas as pd

from jaxmask.errors import InputError, nearest
from jaxmask.report.collect import OUTCOMES, SETTINGS

KEYS = ("method", "schedule", "target_density")
# where a run keeps its files, how it fits into memory, which values were tried before one was
# chosen: not settings of the experiment
NO_SETTING = ("compilation_cache", "directory", "cache", "cache_gib", "memory_gib",
              "checkpoint_seconds", "scan_steps", "evaluation_batch", "choices")  # fmt: skip
DENSE = "dense"


def settings(frame: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """The runs with a column `series`, which names their setting; the columns that make a setting.

    These columns are method, schedule and target density, and each further one (dataset,
    network, recipe, shots, rounds, fields of the config) that differs between runs which agree
    in all columns before it. A field with the run's own seed in it, such as the path of a start
    `dense-3` of seed 3, does not make a setting; nor does the location of data and caches.

    Args:
      frame: of `collect.collect`.
    """
    runs = _settled(frame)
    keys = list(KEYS)
    fields = [
        name
        for name in runs
        if name.startswith("config.") and name.rsplit(".", 1)[-1] not in NO_SETTING
    ]
    for column in ("dataset", "network", "recipe", "shots", "rounds", *fields):
        plain = _without_seed(runs[column], runs["seed"])
        if _splits(runs, plain, keys) and _splits(runs, runs[column], keys):
            if plain.nunique() < runs[column].nunique():
                runs[column] = plain
            keys.append(column)
    return runs.assign(series=series(runs, keys[len(KEYS) :])), keys


def by_seed(frame: pd.DataFrame, metric: str = "accuracy") -> tuple[pd.DataFrame, list[str]]:
    """The runs that have a value of `metric`, one per setting and seed.

    Runs of one setting and one seed count as one, with the mean of their values (`repeated`
    counts them); without a seed each run counts.

    Args:
      frame: of `collect.collect`.
      metric: a column of numbers.

    Returns:
      A table of the columns of the setting, `seed`, `initial_sha256` and `value`; and the names
      of the columns of the setting.

    Raises:
      InputError: there is no such metric, or no run has it.
    """
    numbers = [name for name in frame if frame[name].dtype.kind in "iuf"]
    if metric not in numbers:
        raise InputError(f"no metric {metric!r} in these runs{nearest(metric, numbers)}")
    runs, keys = settings(frame)
    runs = runs.assign(value=runs[metric].astype("float64")).dropna(subset="value")
    if runs.empty:
        raise InputError(f"none of these runs has a value of {metric!r}; choose another metric")
    runs = runs[[*keys, "seed", "initial_sha256", "value"]]
    has_seed = runs["seed"].notna()
    grouped = runs[has_seed].groupby([*keys, "seed"], dropna=False, sort=False)
    once = grouped.agg(
        # runs that started from different weights have no initial weights in common with others
        initial_sha256=("initial_sha256", lambda column: _common(list(column))),
        value=("value", "mean"),
    ).reset_index()
    seedless = runs[~has_seed]
    return pd.concat([once, seedless], ignore_index=True) if len(seedless) else once, keys


def repeated(frame: pd.DataFrame) -> int:
    """How many runs have the setting and the seed of an earlier run."""
    runs, keys = settings(frame)
    return int(runs[runs["seed"].notna()].duplicated([*keys, "seed"]).sum())


def summarize(frame: pd.DataFrame, metric: str = "accuracy") -> pd.DataFrame:
    """One row per setting: its columns, then `metric`, `count`, `mean` and `std` over seeds.

    `std` is the sample standard deviation (ddof=1), NaN for one seed. The dense network comes
    first, then methods by name, schedules in the order USS, UMS, ISS, IMS, densities descending.

    Raises:
      InputError: as `by_seed`.
    """
    return summary_of(*by_seed(frame, metric), metric)


def summary_of(runs: pd.DataFrame, keys: Sequence[str], metric: str) -> pd.DataFrame:
    """`summarize` of what `by_seed` gives; the row of each run's setting is its `group`."""
    table = runs.groupby(list(keys), dropna=False, sort=False)["value"]
    summary = table.agg(["count", "mean", "std"]).reset_index()
    summary.insert(len(keys), "metric", metric)
    return ordered(summary, keys[len(KEYS) :])


def ordered(table: pd.DataFrame, further: Sequence[str] = ()) -> pd.DataFrame:
    """The rows in the order of `summarize`, those of one setting by the columns `further`."""
    order = {name: place for place, name in enumerate(("", "USS", "UMS", "ISS", "IMS"))}
    placed = table.assign(
        _first=table["method"] != DENSE,
        _schedule=table["schedule"].map(order).fillna(len(order)),
    )
    by = ["_first", "method", "_schedule", "schedule", "target_density", *further]
    up = [name != "target_density" for name in by]
    placed = placed.reset_index(drop=True).sort_values(by, ascending=up, kind="stable")
    return table.iloc[placed.index].reset_index(drop=True)


def further(summary: pd.DataFrame) -> list[str]:
    """The columns of a summary, besides method, schedule and density, that make a setting."""
    return list(summary.columns[len(KEYS) : summary.columns.get_loc("metric")])


def label(method: str, schedule: str) -> str:
    """The displayed name of a method: `snip USS`."""
    return f"{method} {schedule}".strip()


def labels(table: pd.DataFrame) -> list[str]:
    """The label of every row."""
    return [label(*pair) for pair in zip(table["method"], table["schedule"])]


def series(table: pd.DataFrame, columns: Sequence[str]) -> list[str]:
    """The label of every row with the rest of its setting: `snip USS, lenet5, rounds=5`."""
    names = short(columns)
    return [
        ", ".join([name, *(_said(*said) for said in zip(columns, names, row))])
        for name, row in zip(labels(table), table[list(columns)].values.tolist())
    ]


def short(columns: Sequence[str]) -> list[str]:
    """`epochs` for `config.train.epochs`, if no other column has this name."""
    last = [name.rsplit(".", 1)[-1] for name in columns]
    return [
        tail if last.count(tail) == 1 else name.removeprefix("config.")
        for tail, name in zip(last, columns)
    ]


def _settled(frame: pd.DataFrame) -> pd.DataFrame:
    lacking = [name for name in (*SETTINGS, *OUTCOMES) if name not in frame]
    runs = frame.assign(**dict.fromkeys(lacking, None))
    method = runs["method"].astype("object")
    runs["method"] = method.where(method.notna(), runs["recipe"].astype("object")).fillna("unknown")
    runs["schedule"] = runs["schedule"].astype("object").fillna("")
    density = pd.to_numeric(runs["target_density"])
    density = density.mask(density.isna() & (runs["method"] == DENSE), 1.0)
    # 0.1 from a formula, 0.1000000000000001, is 0.1
    runs["target_density"] = [float(f"{value:.9g}") for value in density]
    return runs


def _splits(runs: pd.DataFrame, column: pd.Series, keys: Sequence[str]) -> bool:
    """Whether the column differs between runs that agree in `keys`."""

    def differs(which: pd.Series) -> bool:
        grouped = runs[which].assign(_column=column).groupby(list(keys), dropna=False)
        return bool((grouped["_column"].nunique(dropna=False) > 1).any())

    dense = runs["method"] == DENSE
    if differs(~dense):
        return True
    # A field that belongs to a method or a density: dense runs have it but do not use it.
    idle = column[~dense].nunique(dropna=False) > 1
    return not idle and differs(dense)


def _without_seed(column: pd.Series, seeds: pd.Series) -> pd.Series:
    """The column with `{seed}` in place of the run's own seed in a text."""

    def plain(value: Any, seed: Any) -> Any:
        if not isinstance(value, str) or pd.isna(seed):
            return value
        number = rf"((?<=seed)|(?<![A-Za-z0-9.])){int(seed)}(?![A-Za-z0-9]|\.\d)"
        # the last one: the 1 of `runs/1/dense-1` that is the seed
        found = list(re.finditer(number, value))
        return f"{value[: found[-1].start()]}{{seed}}{value[found[-1].end() :]}" if found else value

    return pd.Series([plain(*pair) for pair in zip(column, seeds)], column.index)


def _common(values: list[Any]) -> Any:
    return values[0] if len(set(values)) == 1 else None


def _said(column: str, name: str, value: Any) -> str:
    if isinstance(value, float):
        value = f"{value:g}"
    return str(value) if column in ("dataset", "network", "recipe") else f"{name}={value}"
