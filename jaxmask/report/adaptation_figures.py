"""Plots of runs that compare methods: accuracy, bytes to store, fractions of labels, rates."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from jaxmask.report import (
    canvas,
    cluster_figures,
    embedding_figures,
    find,
    groups,
    layer_figures,
    loss_figures,
    mask_figures,
    methods,
    restriction_figures,
    summary,
)
from jaxmask.report.adaptation import SHARE, TUNED, Adaptation, task_of, tasks_named
from jaxmask.report.canvas import Style
from jaxmask.run.result import read

NAMES = (
    "accuracy_against_bytes", "accuracy_against_labels", "rates", "density_by_layer_adapt",
    "density_by_layer_self_supervised", "accuracy_against_scores", "loss_by_epoch",
    "embeddings_pca", "embeddings_tsne", "clusters",
)  # fmt: skip
# offsets of a name from its point, in points: the most readable first
BESIDE = [
    (x, y, "left" if x > 0 else "right" if x < 0 else "center")
    for far in (1, 2, 3)
    for x, y in ((7, 0), (-7, 0), (0, 9 * far), (0, -9 * far), (6, 9 * far), (6, -9 * far),
                 (-6, 9 * far), (-6, -9 * far))
]  # fmt: skip


def drawings(adapted: Adaptation | None) -> dict[str, Callable[[Path], bool]]:
    """The functions that draw the plots of these runs, by name; for None they draw nothing."""
    if adapted is None:
        return dict.fromkeys(NAMES, lambda path: False)
    # one style per method (and setting), the same in all figures of a report
    names = list(dict.fromkeys([*adapted.groups["method"], *adapted.runs["method"]]))
    style = canvas.styles(pd.DataFrame({"series": names, "schedule": ""}))
    metric = adapted.groups["metric"].iloc[0]
    draw: tuple[Callable[[Path], bool], ...] = (
        lambda path: against_bytes(path, adapted.groups, style),
        lambda path: against_labels(path, adapted.groups, style),
        lambda path: rates(path, adapted.runs, style),
        lambda path: layers(path, adapted.runs, style),
        lambda path: layer_figures.draw(path, adapted.runs),
        lambda path: restriction_figures.draw(path, adapted.runs, metric),
        lambda path: loss_figures.draw(path, adapted.runs),
        lambda path: embedding_figures.draw(path, adapted.runs, "PCA"),
        lambda path: embedding_figures.draw(path, adapted.runs, "t-SNE"),
        lambda path: cluster_figures.draw(path, adapted.runs),
    )
    return dict(zip(NAMES, draw))


def against_bytes(path: Path, compared: pd.DataFrame, style: Style) -> bool:
    """The metric against the bytes to store: one point per method, with a standard deviation bar.

    One panel per task. Names are placed to cover no point and no other name, if there is room.

    Args:
      path: of the PNG file.
      compared: of `adaptation.compare`.
      style: how to plot each method.

    Returns:
      Whether there was anything to draw; so for the other figures.
    """
    table = compared.assign(task=task_of(compared), title=tasks_named(compared))
    table = table[(table["storage_bytes"] > 0) & table["mean"].notna()]
    if table.empty:
        return False
    metric = table["metric"].iloc[0]
    factor = 100 if summary.share(metric) else 1
    tasks = [task for _, task in table.groupby("task", sort=False)]
    figure, panels = canvas.panels(len(tasks), 3, 4.2 if len(tasks) > 1 else 5.6, 3.8)
    for panel, task in zip(panels, tasks):
        canvas.opened(panel)
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
    figure.supxlabel("bytes to store besides the base network", fontsize=10)
    figure.supylabel(summary.title(metric), fontsize=10)
    figure.draw_without_rendering()  # points have no positions before this
    for panel, task in zip(panels, tasks):
        _name(panel, [
            (line["storage_bytes"], factor * line["mean"], line["method"])
            for line in task.to_dict("records")
        ])  # fmt: skip
    canvas.save(figure, path)
    return True


def against_labels(path: Path, compared: pd.DataFrame, style: Style) -> bool:
    """The metric against the fraction of labels: one line per method, standard deviation bars."""
    if SHARE not in groups.further(compared):
        return False
    other = tasks_named(compared, without=SHARE)
    names = [f"{name}, {task}" if task else name for name, task in zip(compared["method"], other)]
    table = compared.assign(series=names)
    table = table[(table[SHARE] > 0) & table["mean"].notna()]
    metric = table["metric"].iloc[0]
    factor = 100 if summary.share(metric) else 1
    figure, axes = canvas.new(7.0, 4.2)
    style = canvas.of_lines(style, table)
    for name, line in table.groupby("series", sort=False):
        line = line.sort_values(SHARE)
        axes.errorbar(100 * line[SHARE], factor * line["mean"], factor * line["std"].fillna(0),
                      label=name, capsize=2, elinewidth=0.8, **style[name])  # fmt: skip
    canvas.log_axis(axes, list(100 * table[SHARE].unique()))
    axes.set_xlabel("fraction of labels in %")
    axes.set_ylabel(summary.title(metric))
    canvas.legend(axes)
    canvas.save(figure, path)
    return True


def layers(path: Path, runs: pd.DataFrame, style: Style) -> bool:
    """Density of each masked leaf, mean over seeds: one line per method with a mask of its own.

    Args:
      runs: of `adaptation.named`.
    """
    settled, _ = groups.settings(runs)
    places = map(Path, settled["folder"])
    own = [
        bool(methods.section_of(find.read_config(place), read(place).method)) for place in places
    ]
    settled = settled[own]
    return mask_figures.layers(path, settled, canvas.of_lines(style, settled), logarithmic=False)


def rates(path: Path, runs: pd.DataFrame, style: Style) -> bool:
    """Validation accuracy against the values that were tried: how sensitive it is to them.

    One line per method, mean over runs with bars of one standard deviation; beside it the density
    of the masks found. Methods that tried fewer than three values are left out.

    Args:
      runs: of `adaptation.named`.
    """
    table = tried(runs)
    table = table[table.groupby("series")["value"].transform("nunique") > 2]
    if table.empty:
        return False
    masks = table[table["found_density"].notna()]
    panels = [("validation", table, "validation accuracy in %", 100)]
    if len(masks):
        panels.append(("found_density", masks, "density found", 1))
    style = canvas.of_lines(style, table)
    figure = canvas.blank(1.8 + 4.2 * len(panels), 4.0)
    all_axes = figure.subplots(1, len(panels), squeeze=False).ravel()
    for axes, (column, shown, title, factor) in zip(all_axes, panels):
        canvas.opened(axes)
        for name, line in shown.groupby("series", sort=False):
            at = (factor * line[column]).groupby(line["value"]).agg(["mean", "std"])
            axes.errorbar(at.index, at["mean"], at["std"].fillna(0), label=name, capsize=2,
                          elinewidth=0.8, **style[name])  # fmt: skip
        axes.set_xscale("log")
        axes.set_xlabel("tuned value")
        axes.set_ylabel(title)
    handles, names = all_axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside right center", fontsize=7, frameon=False)
    canvas.save(figure, path)
    return True


def tried(runs: pd.DataFrame) -> pd.DataFrame:
    """What the methods tried on validation data: one row per run and value.

    Read from `choices/*/result.json` below each run directory; diverged runs are left out.
    Columns: `method`, `series` (method, task and tuned field), `value`, `validation`
    (accuracy) and `found_density`, NaN without a mask.

    Args:
      runs: of `adaptation.named`.
    """
    settled, _ = groups.settings(runs)
    rows: list[tuple[Any, ...]] = []
    for method, name, folder in zip(settled["method"], settled["series"], settled["folder"]):
        for file in sorted(Path(folder).glob("choices/*/result.json")):
            result = read(file.parent)
            field = next((each for each in TUNED if result.more.get(each)), None)
            accuracy = result.validation_accuracy
            if field is None or accuracy is None or result.more.get("diverged"):
                continue
            density = result.density if result.mask_bits else None
            rows.append((method, f"{name}: {field}", result.more[field], accuracy, density))
    numbers = ["value", "validation", "found_density"]
    table = pd.DataFrame(rows, columns=["method", "series", *numbers])
    return table.astype(dict.fromkeys(numbers, "float64"))


def _name(axes: Any, points: list[tuple[float, float, str]]) -> None:
    """Writes the name of each point beside it, where it covers no other, if there is room."""
    from matplotlib.transforms import Bbox

    pixel = axes.figure.dpi / 72
    taken = []
    for x, y, _ in points:
        at = axes.transData.transform((x, y))
        taken.append(Bbox([at - 4 * pixel, at + 4 * pixel]))
    for x, y, name in sorted(points, key=lambda point: -point[1]):
        note = axes.annotate(name, (x, y), xytext=(7, 0), textcoords="offset points",
                             va="center", fontsize=8)  # fmt: skip
        note.set_in_layout(False)  # the panel stays where it was measured
        boxes: list[tuple[int, int, Any]] = []
        for right, up, side in BESIDE:
            note.xyann = (right, up)
            note.set_horizontalalignment(side)
            box = note.get_window_extent()
            inside = axes.bbox.contains(*box.min) and axes.bbox.contains(*box.max)
            boxes.append((box.count_overlaps(taken) + (not inside), len(boxes), box))
            if boxes[-1][0] == 0:
                break
        _, best, box = min(boxes, key=lambda each: each[:2])
        note.xyann = BESIDE[best][:2]
        note.set_horizontalalignment(BESIDE[best][2])
        taken.append(box)
