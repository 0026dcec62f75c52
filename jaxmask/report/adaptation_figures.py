"""Pictures of many `adapt` runs: accuracy, bytes to store, shares of labels, tuned rates."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from jaxmask.report import canvas, find, groups, summary
from jaxmask.report.adaptation import SHARE, TUNED, task_of, tasks_named

# where a name may stand beside its point, in points: first those that are read most easily
BESIDE = [
    (x, y, "left" if x > 0 else "right" if x < 0 else "center")
    for far in (1, 2, 3)
    for x, y in ((7, 0), (-7, 0), (0, 9 * far), (0, -9 * far), (6, 9 * far), (6, -9 * far),
                 (-6, 9 * far), (-6, -9 * far))
]  # fmt: skip


def styles(compared: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """How to plot each method (and setting), the same in all figures of a report."""
    return canvas.styles(compared.assign(series=compared["method"], schedule=""))


def against_bytes(path: Path, compared: pd.DataFrame) -> bool:
    """The metric over the bytes to store, a point a method with a bar of one standard deviation.

    A panel a task. Names stand where they cover no point and no other name, if there is room.

    Args:
      path: of the PNG file.
      compared: of `adaptation.compare`.

    Returns:
      Whether there was anything to draw; so do the other figures.
    """
    style = styles(compared)
    table = compared.assign(task=task_of(compared), title=tasks_named(compared))
    table = table[(table["storage_bytes"] > 0) & table["mean"].notna()]
    if table.empty:
        return False
    metric = table["metric"].iloc[0]
    factor = 100 if summary.share(metric) else 1
    tasks = [task for _, task in table.groupby("task", sort=False)]
    columns = min(len(tasks), 3)
    rows = -(-len(tasks) // columns)
    figure = canvas.blank(max(5.6, 4.2 * columns), 0.4 + 3.6 * rows)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for panel in panels[len(tasks) :]:
        panel.set_visible(False)
    for panel, task in zip(panels, tasks):
        _open(panel)
        for line in task.to_dict("records"):
            panel.errorbar(
                line["storage_bytes"],
                factor * line["mean"],
                0 if line["count"] < 2 else factor * line["std"],
                capsize=2,
                **{**style[line["method"]], "markersize": 6},
            )
        panel.set_xscale("log")
        panel.margins(x=0.15, y=0.12)
        panel.set_title(task["title"].iloc[0], fontsize=9)
    figure.supxlabel("bytes to store beside the base network", fontsize=10)
    figure.supylabel(summary.title(metric), fontsize=10)
    figure.draw_without_rendering()  # only then it is known where a point lies on the figure
    for panel, task in zip(panels, tasks):
        _name(panel, [
            (line["storage_bytes"], factor * line["mean"], line["method"])
            for line in task.to_dict("records")
        ])  # fmt: skip
    canvas.save(figure, path)
    return True


def against_labels(path: Path, compared: pd.DataFrame) -> bool:
    """The metric over the share of the labels, a line a method with bars of one deviation."""
    if SHARE not in groups.further(compared):
        return False
    other = tasks_named(compared, without=SHARE)
    table = compared.assign(
        line=[f"{method}, {task}" if task else method for method, task in zip(compared["method"], other)],
        schedule="",
    )
    table = table[(table[SHARE] > 0) & table["mean"].notna()]
    metric = table["metric"].iloc[0]
    factor = 100 if summary.share(metric) else 1
    figure, axes = canvas.new(7.0, 4.2)
    style = canvas.styles(table.assign(series=table["line"]))
    for name, line in table.groupby("line", sort=False):
        line = line.sort_values(SHARE)
        axes.errorbar(100 * line[SHARE], factor * line["mean"], factor * line["std"].fillna(0),
                      label=name, capsize=2, elinewidth=0.8, **style[name])  # fmt: skip
    _log_axis(axes, sorted(100 * table[SHARE].unique()))
    axes.set_xlabel("share of the labels in %")
    axes.set_ylabel(summary.title(metric))
    canvas.legend(axes)
    canvas.save(figure, path)
    return True


def tried(runs: pd.DataFrame) -> pd.DataFrame:
    """What the methods tried on validation data: one row a run and value.

    Read from `choices/*/result.json` beneath each run directory; what diverged is left out.
    Columns: those of `runs`, and `field`, `value`, `validation`, `found_density` (NaN without a
    mask).

    Args:
      runs: of `adaptation.named`.
    """
    rows = []
    for run in runs.to_dict("records"):
        for file in sorted(Path(run["folder"]).glob("choices/*/result.json")):
            result = find.read_result(file.parent)
            field = next((name for name in TUNED if result.get(name)), None)
            accuracy = result.get("validation_accuracy")
            if field is None or accuracy is None or result.get("diverged"):
                continue
            density = result.get("density") if result.get("mask_bits") else None
            rows.append({**run, "field": field, "value": result[field], "validation": accuracy,
                         "found_density": density})  # fmt: skip
    more = ["field", "value", "validation", "found_density"]
    table = pd.DataFrame(rows, columns=[*runs.columns, *more])
    return table.astype({"value": "float64", "validation": "float64", "found_density": "float64"})


def rates(path: Path, runs: pd.DataFrame, compared: pd.DataFrame) -> bool:
    """Validation accuracy over the values that were tried, a line a method: how it depends on them.

    Beneath it the density that masks were found to have. Means over seeds, bars of one standard
    deviation. Methods that tried fewer than three values are left out.

    Args:
      path: of the PNG file.
      runs: of `adaptation.named`.
      compared: of `adaptation.compare`, of these runs.
    """
    table = tried(runs)
    columns = groups.further(compared)
    tasks = tasks_named(table.assign(metric=""), ) if False else None
    return bool(tasks) and bool(columns)
