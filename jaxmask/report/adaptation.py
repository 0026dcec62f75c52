"""Compares methods over many runs that compare some: accuracy, and the bytes to store it."""

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from jaxmask.report import groups, significance, summary

FULL = "full"
SHARE = "config.data.share"
# the field of a result that tuning sets: a result has one of them
TUNED = ("mask_learning_rate", "learning_rate", "regularization", "neighbors")
MEANS = ("storage_bytes", "trained_numbers", "density")


class Adaptation(NamedTuple):
    """What a report says about runs that compare methods (`methods.RECIPES`)."""

    runs: pd.DataFrame  # of `named`
    groups: pd.DataFrame  # of `compare`
    table: pd.DataFrame  # of `table_of`
    caption: str
    best: set[tuple[int, int]]  # (row, column) of the best accuracy of each task


def make(frame: pd.DataFrame, baseline: str | None, metric: str, test: str) -> Adaptation:
    """The report on the runs of `named`.

    Raises:
      InputError: as `significance.compare`.
    """
    compared = compare(frame, baseline, metric)
    table = table_of(compared, test)
    best = {(row, 1 + len(groups.further(compared))) for row in _best(compared)}
    return Adaptation(frame, compared, table, caption(compared, test), best)


def named(frame: pd.DataFrame) -> pd.DataFrame:
    """The runs with the settings of a method in its name: `mask (stages=2)`.

    The name has the fields that make a setting (`groups.settings`) and differ between runs of that
    method; those of the task (dataset, network, `config.data`, `config.network`) stay columns.

    A value chosen on validation data is not a setting: each seed may choose its own, or be given
    another's. The value is named only if runs that agree in everything else, including the seed,
    ended with different values: `full (learning_rate=0.1)`.

    For the paired test, all runs of a seed count as started from the same weights, unless their
    `config.start` differs.

    Args:
      frame: of `collect.collect`, only methods of runs that compare some.
    """
    # the share first: other fields (epochs, say) may differ only where it does
    frame = frame[sorted(frame, key=lambda name: name != SHARE)]
    runs, keys = groups.settings(frame)
    own = [name for name in keys[len(groups.KEYS) :] if not name.startswith(significance.TASK)]
    runs["tuned"] = tuned(runs, keys)
    said: list[list[str]] = [[] for _ in range(len(runs))]
    for column in (*own, "tuned"):
        several = runs.groupby("method")[column].transform("nunique", dropna=False) > 1
        for row, value in enumerate(runs[column]):
            if several.iloc[row] and not pd.isna(value):
                said[row].append(_said(column, runs["method"].iloc[row], value))
    names = [
        f"{method} ({', '.join(each)})" if each else method
        for method, each in zip(runs["method"], said)
    ]
    starts = runs.get("config.start", "")
    return runs.drop(columns=["series", "tuned"]).assign(method=names, initial_sha256=starts)


def tuned(runs: pd.DataFrame, keys: list[str]) -> pd.Series:
    """`learning_rate=0.1`, if runs of one setting and seed ended with different values; or None.

    Args:
      keys: the columns that make a setting.
    """
    values = pd.Series(None, runs.index, dtype="object")
    for name in TUNED:
        if name in runs:
            text = runs[name].map(lambda value, name=name: f"{name}={value:g}", na_action="ignore")
            values = values.where(values.notna(), text.astype("object"))
    by = [runs[name] for name in keys]
    of_seed = values.groupby([*by, runs["seed"]], dropna=False).transform("nunique")
    return values.where(of_seed.groupby(by, dropna=False).transform("max") > 1)


def compare(frame: pd.DataFrame, baseline: str | None, metric: str) -> pd.DataFrame:
    """`significance.compare` of the runs of `named`, with the storage that each setting takes.

    Further columns, means over the seeds: `storage_bytes`, `trained_numbers`, `density`; and
    `times_smaller`, the bytes of full fine-tuning of the same task over those of the setting.
    Tasks are sorted by their columns, larger shares of labels first; in a task, by fewest bytes.

    Raises:
      InputError: as `significance.compare`.
    """
    compared = significance.compare(frame, baseline, metric)
    tasks = groups.further(compared)
    keys = [*groups.KEYS, *tasks]
    for name in MEANS:
        if name not in frame or frame[name].isna().all():
            compared[name] = np.nan
            continue
        means = groups.summarize(frame, name)[[*keys, "mean"]].rename(columns={"mean": name})
        compared = compared.merge(means, on=keys, how="left")
    task = task_of(compared)
    full = compared[[name == FULL or name.startswith(f"{FULL} (") for name in compared["method"]]]
    # with several settings of `full`, none is the one to compare with
    full = full[~task[full.index].duplicated(keep=False)]
    bytes_of_full = task.map(dict(zip(task[full.index], full["storage_bytes"])))
    compared["times_smaller"] = bytes_of_full.astype("float64") / compared["storage_bytes"]
    by = [*tasks, "storage_bytes"]
    return compared.sort_values(by, ascending=[name != SHARE for name in by], ignore_index=True)


def task_of(compared: pd.DataFrame) -> pd.Series:
    """The number of each row's task; only rows of one task are compared."""
    tasks = groups.further(compared)
    if not tasks:
        return pd.Series(0, compared.index)
    return compared.groupby(tasks, dropna=False, sort=False).ngroup()


def tasks_named(compared: pd.DataFrame, without: str = "") -> list[str]:
    """The name of each row's task: `cifar100, share=0.1`; "" if there is only one."""
    columns = [name for name in groups.further(compared) if name != without]
    table = compared.assign(method="", schedule="")
    return [text.removeprefix(", ") for text in groups.series(table, columns)]


def tasks_of(runs: pd.DataFrame) -> list[str]:
    """The name of each run's task: `cifar100, size=64`; "" if there is only one."""
    own = [name for name in runs if name.startswith(significance.TASK)]
    # without the methods, which would explain some of the differences
    settled, keys = groups.settings(runs[["seed", *own]].assign(method=""))
    names = groups.series(settled, keys[len(groups.KEYS) :])
    return [name.removeprefix(", ") for name in names]


def table_of(compared: pd.DataFrame, test: str = "welch") -> pd.DataFrame:
    """One row per method (and setting) and task, with cells of text; see `caption`.

    Args:
      compared: of `compare`.
      test: the one whose stars the accuracy has, `welch` or `paired`.
    """
    tasks = groups.further(compared)
    lines = compared.to_dict("records")
    baseline = compared["baseline"].dropna()
    shown: dict[str, list[str]] = {"method": list(compared["method"])}
    for name, short in zip(tasks, groups.short(tasks)):
        shown[short] = [_number(line[name], "g") for line in lines]
    metric = compared["metric"].iloc[0]
    shown[summary.title(metric)] = [summary.cell(line, test) for line in lines]
    columns = [("count", "seeds", "d"), ("density", "density", ".3f"),
               ("trained_numbers", "trained numbers", ",.0f"),
               ("storage_bytes", "bytes to store", ",.0f"),
               ("times_smaller", f"times smaller than {FULL}", ",.2f")]  # fmt: skip
    if len(baseline):
        percent = summary.share(metric)
        factor, unit, form = (100, " in points", "+.2f") if percent else (1, "", "+.4g")
        lines = [{**line, "difference": factor * line["difference"]} for line in lines]
        columns += [
            ("difference", f"against {baseline.iloc[0]}{unit}", form),
            ("welch_p_holm", "p (Welch)", ".2g"),
            ("paired_p_holm", "p (paired)", ".2g"),
        ]
    for name, head, form in columns:
        if name != metric and (compared[name].notna().any() or name.endswith("_holm")):
            shown[head] = [_number(line[name], form) for line in lines]
    return pd.DataFrame(shown)


def caption(compared: pd.DataFrame, test: str = "welch") -> str:
    """What the cells of `table_of` are, in a few sentences."""
    said = (
        f"{summary.title(compared['metric'].iloc[0])}: mean ± sample standard deviation over "
        f"{summary.seeds(compared)}; the other columns: means. Bytes: all that the task needs "
        "besides the base network, compressed, as on disk."
    )
    if compared["baseline"].notna().any():
        said += summary.tested(compared, test, " of the same task")
        said += " The p columns are corrected, too."
    return said


def _said(column: str, method: str, value: Any) -> str:
    if column == "tuned":
        return value
    name = column.removeprefix("config.").removeprefix(f"{method}.")
    return f"{name}={_number(value, 'g')}"


def _number(value: Any, form: str) -> str:
    if pd.isna(value):
        return ""
    return f"{value:{form}}" if isinstance(value, int | float) and value is not True else str(value)


def _best(compared: pd.DataFrame) -> list[int]:
    """The rows with the best accuracy of each task; none if the metric is not an accuracy."""
    if not summary.share(compared["metric"].iloc[0]):
        return []
    best = compared.groupby(task_of(compared))["mean"].transform("max")
    return list(np.flatnonzero(compared["mean"] == best))
