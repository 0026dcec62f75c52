"""Accuracy against the number of trainable scores: of some stages, or of a share of them."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from jaxmask import mask
from jaxmask.report import adaptation, canvas, find, groups, methods, significance, summary
from jaxmask.run.result import read

FILE = Path("masks") / "task.mask"
FIELDS: dict[str, Any] = {"stages": 0, "trainable_share": 1.0, "trainable_by": "random"}
WHOLE = "all scores"


def draw(path: Path, runs: pd.DataFrame, metric: str) -> bool:
    """The metric against the number of trainable scores, mean over seeds.

    A line for each way of restricting them (the first stages, a random share, the largest
    weights), dashed over random weights; one panel per task. Masks of all scores are on every line.
    Bars are one standard deviation.

    Args:
      path: of the PNG file.
      runs: of `adaptation.named`.
      metric: a column of them.

    Returns:
      Whether there was anything to draw.

    Raises:
      InputError: a mask file is damaged.
    """
    table = lines(runs, metric)
    if table.empty:
        return False
    tasks = list(table.groupby("task", sort=False))
    factor = 100 if summary.share(metric) else 1
    figure, panels = canvas.panels(len(tasks), 1, 7.5, 4.2)
    names = list(dict.fromkeys(zip(table["setting"], table["by"])))
    for axes, (title, task) in zip(panels, tasks):
        canvas.opened(axes)
        for (setting, by, random), line in task.groupby(["setting", "by", "random"], sort=False):
            place = names.index((setting, by))
            name = by if len(set(table["setting"])) == 1 else f"{setting}, {by}"
            axes.errorbar(
                line["scores"], factor * line["mean"], factor * line["std"].fillna(0),
                label=f"{name}, random weights" if random else name,
                color=f"C{place % 10}", marker=canvas.MARKERS[place % 10],
                linestyle="--" if random else "-", markerfacecolor="none" if random else None,
                markersize=5, capsize=2, elinewidth=0.8,
            )  # fmt: skip
        canvas.log_axis(axes, list(task["scores"]), ",", apart=0.13)
        axes.set_title(title, fontsize=9)
        axes.set_xlabel("trainable scores")
        axes.set_ylabel(summary.title(metric))
        canvas.legend(axes)
    canvas.save(figure, path)
    return True


def lines(runs: pd.DataFrame, metric: str = "accuracy") -> pd.DataFrame:
    """The metric by number of trainable scores: mean and deviation over seeds.

    Columns: `task`; `setting`, the method and whatever else its runs differ in; `by`, how the
    scores are restricted; `random`, whether the weights are; `scores`; `mean`, `std`. Only lines of
    two numbers of scores or more.

    Args:
      runs: of `adaptation.named`.
    """
    table = _restricted(runs.assign(task=adaptation.tasks_of(runs), value=runs[metric]))
    if table.empty:
        return table
    keys = ["task", "setting", "random", "by"]
    found = []
    for _, part in table.groupby(keys[:3], sort=False):
        whole = part[part["by"] == WHOLE]
        for by, line in part[part["by"] != WHOLE].groupby("by", sort=False):
            both = pd.concat([line, whole.assign(by=by)])
            if both["scores"].nunique() > 1:
                found.append(both.sort_values("scores"))
    if not found:
        return pd.DataFrame()
    by_seed = pd.concat(found).groupby([*keys, "scores", "seed"], dropna=False, sort=False)
    over = by_seed["value"].mean().groupby([*keys, "scores"], sort=False).agg(["mean", "std"])
    return over.reset_index()


def _restricted(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs of masks, with `setting`, `by`, `random` and `scores`."""
    rows = []
    for run in runs.to_dict("records"):
        folder = Path(run["folder"])
        config, method = find.read_config(folder), read(folder).method
        section = methods.section_of(config, method)
        if f"{section}.stages" not in config or pd.isna(run["value"]):
            continue
        if not (folder / FILE).exists():
            continue
        stages, share, which = (
            config.get(f"{section}.{name}", default) for name, default in FIELDS.items()
        )
        rows.append({
            **run, "method": method, "by": _said(stages, share, which),
            "random": config.get("start") == "random", "scores": trainable_scores(folder, share),
        })  # fmt: skip
    if not rows:
        return pd.DataFrame()
    table = pd.DataFrame(rows)
    # what is on the axis, or named apart, is no setting
    names = [name for name in table if name.startswith("config.")]
    own = [name for name in names if name.rsplit(".", 1)[-1] in FIELDS]
    table = table.drop(columns=own)
    parts = [_set(part.drop(columns="config.start", errors="ignore") if random else part)
             for random, part in table.groupby("random", sort=False)]  # fmt: skip
    return pd.concat(parts, ignore_index=True)


def _set(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs with their `setting`: the method, and other fields that differ."""
    settled, keys = groups.settings(runs.reset_index(drop=True))
    fields = [name for name in keys[len(groups.KEYS) :] if not name.startswith(significance.TASK)]
    names = groups.series(settled, fields)
    tuned = adaptation.tuned(settled, [*keys, "by", "scores"]).fillna("")
    joined = [", ".join(filter(None, pair)) for pair in zip(names, tuned)]
    return settled.assign(setting=joined)


def _said(stages: int, share: float, which: str) -> str:
    """How scores are restricted, without the number that the axis shows."""
    if share == 1:
        return "by stages" if stages else WHOLE
    chosen = "largest weights" if which == "magnitude" else "random share"
    return f"{chosen} of stages 1 to {stages}" if stages else chosen


def trainable_scores(folder: Path, share: float) -> int:
    """How many scores a mask run learns: of each masked leaf the share that it says.

    Raises:
      InputError: the mask file is damaged.
    """
    shapes = mask.file.read_header(folder / FILE)["leaves"]
    leaves = {name: np.empty(shape, np.bool_) for name, shape in shapes.items()}
    return int(np.sum(mask.allocate(leaves, share, "layer")))
