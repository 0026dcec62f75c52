"""Pictures of embeddings: images as points in the plane, one panel for each network of a run."""

import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from jaxmask import signals
from jaxmask.report import canvas, embedded, projection

POINTS = 1000  # in a panel, so that t-SNE takes seconds
RUNS = 3
MANY = 20  # classes, which colors can tell apart; of more, the `FEW` most frequent are drawn
FEW = 10
WAYS = {"PCA": projection.pca, "t-SNE": projection.tsne}


def draw(path: Path, runs: pd.DataFrame, way: str) -> bool:
    """The embeddings of runs that learned without labels, projected onto the plane.

    A row of panels for each run, the first of each setting; a panel for each of its networks.

    Args:
      path: of the PNG file.
      runs: of `adaptation.named`.
      way: of `WAYS`.

    Returns:
      Whether there was anything to draw.

    Raises:
      InputError: a file of embeddings is damaged.
    """
    shown, settings = embedded.settings_of(runs, RUNS)
    table = points(shown, way)
    if table.empty:
        return False
    rows = [row for _, row in table.groupby("run", sort=False)]
    columns = max(row["network"].nunique() for row in rows)
    figure = canvas.blank(1.3 + 2.0 * columns, 0.4 + 2.5 * len(rows))
    grid = figure.subplots(len(rows), columns, squeeze=False)
    named = ""
    for line, row in zip(grid, rows):
        networks = [network for _, network in row.groupby("network", sort=False)]
        classes = row.drop_duplicates("label").sort_values("label")
        colors = _colors(list(classes["label"]))
        for axes, network in zip(line, networks):
            _panel(axes, network, colors)
        for axes in line[len(networks) :]:
            axes.axis("off")
        line[0].set_ylabel(shown[row["run"].iloc[0]].name, fontsize=8)
        said = classes[["label", "class", "classes"]].to_csv(index=False)
        if said != named:  # once, for rows with the same classes
            _legend(line[: len(networks) + 1][-1], len(networks) < columns, colors, classes)
        named = said
    title = f"Embeddings of test images, scaled to length 1, by {way}"
    if settings > len(shown):
        title += f": the first {len(shown)} of {settings} settings"
    figure.suptitle(title, fontsize=10)
    canvas.save(figure, path)
    return True


def points(shown: list[embedded.Shown], way: str) -> pd.DataFrame:
    """Where the images of each network are drawn: one row per point.

    Of more than `MANY` classes, the images of the `FEW` most frequent are projected and drawn; of
    more than `POINTS` images, so many, evenly spaced.

    Columns: `run`, its index in `shown`; `network`, its index in the run; `title` of the panel;
    `label`, `class`; `x`, `y`; `note`, what the projection says of itself; `classes`, how many
    there are.
    """
    parts = []
    for run, each in enumerate(shown):
        for place, row in enumerate(each.networks.to_dict("records")):
            signals.obey()
            images = embedded.embeddings(Path(row["folder"]))
            if images is None or len(images.labels) < 3:
                continue
            at = _drawn(images.labels)
            labels = images.labels[at]
            found, note = projection.placed(projection.unit(images.features[at]), WAYS[way])
            parts.append(pd.DataFrame({
                "run": run, "network": place, "title": _title(row), "label": labels,
                "class": [images.classes[label] for label in labels], "x": found[:, 0],
                "y": found[:, 1], "note": note, "classes": len(images.classes),
            }))  # fmt: skip
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def _drawn(labels: np.ndarray) -> np.ndarray:
    """The indices of the images to draw."""
    counts = np.bincount(labels)
    if (counts > 0).sum() <= MANY:
        at = np.arange(len(labels))
    else:
        at = np.flatnonzero(np.isin(labels, np.argsort(-counts, kind="stable")[:FEW]))
    count = min(len(at), POINTS)
    return at[np.arange(count) * len(at) // count]


def _title(row: Mapping[str, Any]) -> str:
    title = textwrap.fill(row["method"], 30)
    accuracy = row.get("knn_accuracy", np.nan)
    return title if pd.isna(accuracy) else f"{title}\nk-NN {100 * accuracy:.1f} %"


def _colors(labels: list[int]) -> dict[int, Any]:
    """The color of each class of a run, by its label."""
    from matplotlib import colormaps

    palette = colormaps["tab10" if len(labels) <= 10 else "tab20"]
    return {label: palette(index) for index, label in enumerate(labels)}


def _panel(axes: Any, network: pd.DataFrame, colors: Mapping[int, Any]) -> None:
    size = 14 if len(network) < 400 else 6
    axes.scatter(network["x"], network["y"], s=size, c=network["label"].map(colors).tolist(),
                 linewidths=0, alpha=0.8)  # fmt: skip
    axes.set_aspect("equal", adjustable="datalim")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_title(network["title"].iloc[0], fontsize=8)
    axes.set_xlabel(network["note"].iloc[0], fontsize=7)


def _legend(axes: Any, empty: bool, colors: Mapping[int, Any], classes: pd.DataFrame) -> None:
    """Names the classes of a row, in the empty panel after its last, or beside that."""
    from matplotlib.lines import Line2D

    marks = [Line2D([], [], linestyle="", marker="o", markersize=4, color=color)
             for color in colors.values()]  # fmt: skip
    names = [canvas.shortened(name) for name in classes["class"]]
    of = classes["classes"].iloc[0]
    title = f"{len(names)} of {of} classes" if len(names) < of else None
    axes.legend(marks, names, title=title, title_fontsize=7, fontsize=7, loc="center left",
                bbox_to_anchor=(0.0 if empty else 1.0, 0.5), frameon=False,
                handletextpad=0.1)  # fmt: skip
