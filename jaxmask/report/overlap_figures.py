"""Plots of which weights tickets share, from the rows of `overlap.pairs`."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from jaxmask.report import canvas, grid_figures, overlap


def heat_map(path: Path, found: pd.DataFrame, title: str) -> bool:
    """Jaccard's index of every two tickets of a seed, mean over seeds; below it, that of chance.

    Args:
      path: of the PNG file.
      found: rows of `overlap.pairs` at one density.
      title: of the figure.

    Returns:
      Whether there was anything to draw; so for the other figures.
    """
    table, chance = (overlap.matrix(found, name) for name in ("jaccard", "chance"))
    if chance.isna().all(axis=None):
        return False
    size = len(table)
    side = 2.4 + 0.42 * size
    figure = canvas.blank(side + 0.8, side)
    axes = figure.add_subplot()
    image = axes.imshow(table.to_numpy(), cmap="viridis", vmin=0, vmax=1)
    for row, column in np.argwhere(table.notna().to_numpy()):
        value, by_chance = table.iloc[row, column], chance.iloc[row, column]
        text = f"{value:.2f}" + ("" if row == column else f"\n({by_chance:.2f})")
        axes.text(column, row, text, ha="center", va="center", fontsize=6,
                  color="white" if value < 0.6 else "black")  # fmt: skip
    axes.set_xticks(range(size), table.columns, rotation=90, fontsize=7)
    axes.set_yticks(range(size), table.index, fontsize=7)
    axes.set_title(title, fontsize=9)
    figure.colorbar(image, label="Jaccard index of the masks (by chance)", shrink=0.8)
    canvas.save(figure, path)
    return True


def clusters(path: Path, found: pd.DataFrame, title: str) -> bool:
    """Tickets by how alike they are: a tree, and the heat map in its order; needs three.

    Average linkage of `1 - Jaccard`, mean over seeds. A ticket that cannot be compared with all
    others is left out.

    Args:
      path, found, title: as for `heat_map`.
    """
    table = comparable(overlap.matrix(found, "jaccard"))
    if len(table) < 3:
        return False
    from scipy.cluster import hierarchy

    size = len(table)
    figure = canvas.blank(5.0 + 0.26 * size, 1.6 + 0.26 * size)
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.4))
    tree = linkage(table)
    drawn = hierarchy.dendrogram(tree, orientation="left", ax=left, no_labels=True,
                                 color_threshold=0, above_threshold_color="0.3")  # fmt: skip
    order = drawn["leaves"]
    left.set_xlim(1.0, -0.02)  # with room for equal tickets
    left.set_xlabel("1 - Jaccard index, mean over pairs", fontsize=8)
    left.tick_params(labelsize=7)
    left.spines[["top", "left", "right"]].set_visible(False)
    ordered = table.iloc[order, order]
    edges = (0, 10 * size)  # where `dendrogram` puts leaves
    image = right.imshow(ordered.to_numpy(), cmap="viridis", vmin=0, vmax=1, origin="lower",
                         aspect="auto", extent=(*edges, *edges))  # fmt: skip
    right.set_xticks([])
    right.yaxis.tick_right()
    right.set_yticks(np.arange(size) * 10 + 5, ordered.index, fontsize=7)
    left.set_ylim(*edges)
    figure.suptitle(title, fontsize=9)
    figure.colorbar(image, ax=right, label="Jaccard index", location="bottom", shrink=0.8)
    canvas.save(figure, path)
    return True


def comparable(table: pd.DataFrame) -> pd.DataFrame:
    """The table without the tickets that lack an index with another, those that lack most first."""
    while table.isna().any(axis=None):
        worst = table.isna().sum().idxmax()
        table = table.drop(index=worst, columns=worst)
    return table


def linkage(table: pd.DataFrame) -> np.ndarray:
    """Scipy's average linkage of `1 - Jaccard`, of `overlap.matrix` without holes."""
    from scipy.cluster import hierarchy
    from scipy.spatial import distance

    apart = distance.squareform(1 - table.to_numpy(), checks=False)
    return hierarchy.linkage(apart, "average", optimal_ordering=True)


def against_density(path: Path, found: pd.DataFrame, styles: canvas.Style) -> bool:
    """The overlap of each criterion with others, and with its own other schedules, by density.

    A panel per criterion, in its own schedule; the mean over seeds, with a band of one standard
    deviation, dotted for chance. Drawn from two densities on.

    Args:
      path: of the PNG file.
      found: rows of `overlap.pairs`.
      styles: of `canvas.styles`, for each series.
    """
    rows = found[found["kind"].isin([overlap.CRITERIA, overlap.SCHEDULES])]
    if rows["target_density"].nunique() < 2:
        return False
    turned = rows.assign(one=rows["two"], two=rows["one"])
    rows = pd.concat([rows, turned], ignore_index=True)
    names = [name for name in styles if name in set(rows["one"])]
    own = set(rows["one"][rows["kind"] == overlap.CRITERIA]) or set(names)
    shown = [name for name in names if name in own]
    figure, panels = canvas.panels(len(shown), 3, 3.3, 2.7)
    handles: dict[str, Any] = {}
    for axes, name in zip(panels, shown):
        canvas.opened(axes)
        part = rows[rows["one"] == name]
        for other, line in part.groupby("two", sort=False):
            handles.setdefault(other, _line(axes, line, styles[other]))
        grid_figures.density_axis(axes, part["target_density"])
        axes.set_ylim(0, 1)
        axes.set_title(name, fontsize=8)
        axes.set_ylabel("Jaccard index with", fontsize=8)
    names = [name for name in names if name in handles]
    figure.legend([handles[name] for name in names], names, loc="outside right upper",
                  fontsize=7, frameon=False, handlelength=4)  # fmt: skip
    canvas.save(figure, path)
    return True


def _line(axes: Any, rows: pd.DataFrame, style: dict[str, Any]) -> Any:
    """Draws one pair; returns its handle for a legend."""
    grouped = rows.groupby("target_density")[["jaccard", "chance"]]
    mean, std = grouped.mean(), grouped.std()["jaccard"].fillna(0)
    x, y = mean.index.to_numpy(), mean["jaccard"]
    (handle,) = axes.plot(x, y, **style)
    axes.fill_between(x, y - std, y + std, color=style["color"], alpha=0.15, linewidth=0)
    axes.plot(x, mean["chance"], color=style["color"], linestyle=":", linewidth=0.8)
    return handle
