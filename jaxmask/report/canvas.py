"""A figure to draw on, and its file."""

import io
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from jaxmask import files, signals

LINES = {"USS": "-", "UMS": "--", "ISS": ":", "IMS": "-."}
MARKERS = "osD^vP*X<>"
Style = dict[str, dict[str, Any]]  # how to plot each series, or each method


def new(width: float, height: float) -> tuple[Any, Any]:
    """(figure, axes) of this many inches, with a faint grid and open sides."""
    figure = blank(width, height)
    return figure, opened(figure.add_subplot())


def blank(width: float, height: float) -> Any:
    """A figure of this many inches without axes."""
    # The object-oriented interface with its own canvas: no display, no global state.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    signals.obey()
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def opened(axes: Any) -> Any:
    """The axes, with a faint grid and open sides."""
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    return axes


def panels(count: int, columns: int, width: float, height: float) -> tuple[Any, list[Any]]:
    """(figure, its `count` axes) in rows of `columns`, each of this many inches."""
    columns = min(count, columns)
    rows = -(-count // columns)
    figure = blank(width * columns, height * rows)
    found = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in found[count:]:
        axes.set_visible(False)
    return figure, list(found[:count])


def styles(table: pd.DataFrame) -> Style:
    """How to plot each `series` of a table: one color per method, one line style per schedule.

    Computed from all series of a report, so that a method looks the same in all of its figures.
    """
    from matplotlib import colormaps

    firsts = table.drop_duplicates("series")
    names = list(zip(firsts["series"], firsts["schedule"]))
    methods = {
        name: name.replace(f" {schedule}", "", 1) if schedule else name for name, schedule in names
    }
    place = {method: index for index, method in enumerate(dict.fromkeys(methods.values()))}
    palette = colormaps["tab10" if len(place) <= 10 else "tab20"]
    return {
        name: {
            "color": palette(place[methods[name]] % palette.N),
            "linestyle": LINES.get(schedule, "-"),
            "marker": MARKERS[place[methods[name]] % len(MARKERS)],
            "markersize": 4,
            "linewidth": 1.5,
        }
        for name, schedule in names
    }


def of_lines(style: Style, table: pd.DataFrame) -> Style:
    """The style of each `series`: that of its `method`, several of one with different dashes."""
    found: Style = {}
    count: Counter[str] = Counter()
    for method, name in dict.fromkeys(zip(table["method"], table["series"])):
        found[name] = {**style[method], "linestyle": ("-", "--", ":", "-.")[count[method] % 4]}
        count[method] += 1
    return found


def log_axis(axes: Any, values: Sequence[float], form: str = ".3g", apart: float = 0.0) -> None:
    """A logarithmic axis with numbers at the values, the largest first.

    Args:
      form: of the numbers.
      apart: fraction of the axis that a number takes; of two that are closer, one is left out.
    """
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    places = sorted(set(values), reverse=True)
    ticks = places[:1]
    for value in places[1:]:
        if np.log(ticks[-1] / value) >= apart * np.log(places[0] / places[-1]):
            ticks.append(value)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:{form}}"))
    axes.xaxis.set_minor_locator(NullLocator())


def leaf_axis(axes: Any, leaves: Sequence[str]) -> None:
    """Names masked leaves below the axes, at 0, 1, ..."""
    names = [leaf.removesuffix("/kernel") for leaf in leaves]
    many = len(leaves) > 6
    axes.set_xticks(range(len(leaves)), names, rotation=90 if many else 30,
                    ha="center" if many else "right", fontsize=7)  # fmt: skip


def shortened(name: str) -> str:
    """The name of a class, of 24 characters at most."""
    return name if len(name) <= 24 else f"{name[:21]}..."


def legend(axes: Any) -> None:
    """Names the series beside the axes, where they hide nothing; the figure grows as they need."""
    count = len(axes.get_legend_handles_labels()[1])
    names = axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False,
                        ncols=1 + (count - 1) // 20, handlelength=4)  # fmt: skip
    widen(axes.figure, [names], 1 / 3)


def widen(figure: Any, beside: Iterable[Any], share: float) -> None:
    """Widens a figure by what the widest thing beside its axes takes above a share of it."""
    renderer, own = figure.canvas.get_renderer(), figure.get_figwidth()
    width = max(each.get_window_extent(renderer).width for each in beside) / figure.dpi
    figure.set_figwidth(own + max(0, width - share * own))


def save(figure: Any, path: Path) -> None:
    """Writes the figure as PNG, whole or not at all; the same figure gives the same bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=120, metadata={"Software": None})
    files.replace(path, content.getvalue())
