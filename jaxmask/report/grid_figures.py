"""Plots of many runs: a metric against the density, for each method."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from jaxmask.report import canvas, groups
from jaxmask.report.ranking import ranking
from jaxmask.report.summary import share


def against_density(path: Path, summary: pd.DataFrame) -> bool:
    """Mean of the metric against the target density, with a band of one standard deviation.

    The dense network is a gray line. Without a pruned network nothing is drawn. Of a single
    density, all settings are ranked.

    Args:
      path: of the PNG file.
      summary: of `groups.summarize` or `significance.compare`.

    Returns:
      Whether there was anything to draw; so for the other figures.
    """
    table = _placed(summary)
    pruned = table[table["method"] != groups.DENSE]
    if pruned.empty:
        return False
    metric = table["metric"].iloc[0]
    factor = 100 if share(metric) else 1
    name = {"accuracy": "test accuracy"}.get(metric, metric.replace("_", " "))
    label = name + (" (%)" if share(metric) else "")
    if pruned["target_density"].nunique() == 1:
        return ranking(path, table, label, factor)
    figure, axes = canvas.new(7.0, 4.2)
    _dense(axes, table, factor)
    styles = canvas.styles(pruned)
    for name, line in _lines(pruned):
        style = styles[name]
        x, mean = line["target_density"], factor * line["mean"]
        std = factor * line["std"].fillna(0)
        axes.plot(x, mean, label=name, **style)
        axes.fill_between(x, mean - std, mean + std, color=style["color"], alpha=0.15, linewidth=0)
    density_axis(axes, pruned["target_density"])
    axes.set_ylabel(label)
    canvas.legend(axes)
    canvas.save(figure, path)
    return True


def change(path: Path, summary: pd.DataFrame) -> bool:
    """Difference from the baseline against the target density, in points for an accuracy.

    Bars are the standard deviation of the difference of two single runs.

    Args:
      summary: of `significance.compare`; without a baseline nothing is drawn.
    """
    table = _placed(summary)
    table = table[table["method"] != groups.DENSE]
    styles = canvas.styles(table)
    table = table[table["difference"].notna()]
    if table.empty:
        return False
    metric, baseline = table["metric"].iloc[0], table["baseline"].iloc[0]
    factor = 100 if share(metric) else 1
    figure, axes = canvas.new(7.0, 4.2)
    axes.axhline(0, color="0.4", linewidth=1, label=baseline, zorder=1)
    _bars(axes, table, factor * table["difference"], factor * table["difference_std"], styles)
    unit = "percentage points" if share(metric) else metric.replace("_", " ")
    axes.set_ylabel(f"change from {baseline}\n({unit})")
    canvas.save(figure, path)
    return True


def steps(path: Path, summary: pd.DataFrame) -> bool:
    """Steps to the chosen epoch, against the target density; bars are one standard deviation.

    Args:
      summary: of `groups.summarize(frame, "chosen_step")`.
    """
    table = _placed(summary)
    pruned = table[table["method"] != groups.DENSE]
    if pruned.empty:
        return False
    label = "steps to the chosen epoch"
    if pruned["target_density"].nunique() == 1:
        return ranking(path, table, label)
    figure, axes = canvas.new(7.0, 4.2)
    _dense(axes, table)
    _bars(axes, pruned, pruned["mean"], pruned["std"], canvas.styles(pruned))
    axes.set_ylim(bottom=0)
    axes.set_ylabel(label)
    canvas.save(figure, path)
    return True


def change_by_schedule(path: Path, table: pd.DataFrame, metric: str, styles: canvas.Style) -> bool:
    """Change of the metric from that in a criterion's own schedule: a panel per criterion.

    Bars are the standard deviation of the differences of paired runs.

    Args:
      table: of `schedules.changes`.
      styles: of `canvas.styles`, for each series.
    """
    if table.empty:
        return False
    factor = 100 if share(metric) else 1
    panels = list(table.groupby(["method", "context"], sort=False))
    figure, shown = canvas.panels(len(panels), 2, 4.6, 2.9)
    for axes, ((method, context), part) in zip(shown, panels):
        own = part["own"].iloc[0]
        canvas.opened(axes).axhline(0, color="0.4", linewidth=1, label=own, zorder=1)
        _bars(axes, part, factor * part["difference"], factor * part["std"], styles)
        axes.set_title(", ".join([method, *([context] if context else [])]), fontsize=8)
        unit = "percentage points" if share(metric) else metric.replace("_", " ")
        axes.set_ylabel(f"change from {own}\n({unit})", fontsize=8)
    canvas.save(figure, path)
    return True


def measures(
    path: Path, summaries: dict[str, pd.DataFrame], titles: dict[str, str], styles: canvas.Style
) -> bool:
    """Several metrics against the target density, one panel each; the dense network in gray.

    Args:
      summaries: of `groups.summarize`, by metric.
      titles: of the metrics.
      styles: of `canvas.styles`, for each series.
    """
    tables = {name: _placed(table) for name, table in summaries.items()}
    tables = {name: each for name, each in tables.items() if _of_pruned(each).size}
    if not tables:
        return False
    figure, panels = canvas.panels(len(tables), 2, 4.2, 2.8)
    handles: dict[str, Any] = {}
    for axes, (name, table) in zip(panels, tables.items()):
        _dense(canvas.opened(axes), table)
        pruned = _of_pruned(table)
        for series, line in _lines(pruned):
            x, mean, std = line["target_density"], line["mean"], line["std"].fillna(0)
            handles[series] = axes.plot(x, mean, **styles[series])[0]
            color = styles[series]["color"]
            axes.fill_between(x, mean - std, mean + std, color=color, alpha=0.15, linewidth=0)
        density_axis(axes, pruned["target_density"])
        axes.set_ylabel(titles[name], fontsize=8)
    figure.legend(list(handles.values()), list(handles), loc="outside right upper", fontsize=7,
                  frameon=False, handlelength=4)  # fmt: skip
    canvas.save(figure, path)
    return True


def _of_pruned(table: pd.DataFrame) -> pd.DataFrame:
    return table[table["method"] != groups.DENSE]


def _placed(summary: pd.DataFrame) -> pd.DataFrame:
    """The rows that have a place on the density axis, with the name of their series."""
    table = summary.assign(series=groups.series(summary, groups.further(summary)))
    return table[(table["target_density"] > 0) & table["mean"].notna()]


def _lines(table: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    return [
        (name, line.sort_values("target_density"))
        for name, line in table.groupby("series", sort=False)
    ]


def _dense(axes: Any, table: pd.DataFrame, factor: float = 1) -> None:
    """The dense networks as gray lines with bands of one standard deviation, at all densities."""
    found = table[table["method"] == groups.DENSE]
    for place, line in enumerate(found.to_dict("records")):
        mean, std = factor * line["mean"], factor * line["std"]
        kind = ("-", "--", ":", "-.")[place % 4]
        axes.axhline(mean, color="0.4", linewidth=1, linestyle=kind, label=line["series"], zorder=1)
        if std > 0:  # NaN for one seed
            axes.axhspan(mean - std, mean + std, color="0.4", alpha=0.12, linewidth=0, zorder=1)


def _bars(
    axes: Any,
    table: pd.DataFrame,
    height: pd.Series,
    deviation: pd.Series,
    styles: dict[str, dict[str, Any]],
) -> None:
    """Points with bars; series are shifted sideways, so that their bars do not overlap."""
    table = table.assign(height=height, deviation=deviation.fillna(0))
    lines = _lines(table)
    shifts = np.linspace(-1, 1, len(lines)) * 0.02 * (len(lines) > 1)
    for (name, line), shift in zip(lines, shifts):
        x = line["target_density"] * 10**shift
        axes.errorbar(
            x,
            line["height"],
            line["deviation"],
            label=name,
            capsize=2,
            elinewidth=0.8,
            **styles[name],
        )
    density_axis(axes, table["target_density"])
    canvas.legend(axes)


def density_axis(axes: Any, densities: pd.Series) -> None:
    """Makes x logarithmic, falling to the right, with ticks at the densities themselves."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    found = sorted(densities.unique(), reverse=True)
    axes.set_xscale("log")
    apart = 0.06 * np.log(found[0] / found[-1])
    ticks = found[:1]
    for density in found[1:]:
        # numbers closer to each other would overlap
        if np.log(ticks[-1] / density) >= apart:
            ticks.append(density)
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.tick_params(axis="x", labelrotation=60, labelsize=8)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    beyond = np.exp(max(0.04 * np.log(found[0] / found[-1]), 0.1))
    axes.set_xlim(found[0] * beyond, found[-1] / beyond)
    axes.set_xlabel("target density")
