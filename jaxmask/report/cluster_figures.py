"""Pictures of a cascade's clusters against the classes of their images."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from jaxmask.report import canvas, embedded

RUNS = 3
NAMED = 60  # classes, whose names there is room for


class Clusters(NamedTuple):
    """`shares`: of each class (column) in each cluster (row); columns sum to 1.

    `sizes`: images of each cluster; `information`: normalized mutual information, 0 to 1.
    """

    shares: pd.DataFrame
    sizes: np.ndarray
    information: float


def draw(path: Path, runs: pd.DataFrame) -> bool:
    """Heat maps of the shares of each class in each cluster: a panel per run, one a setting.

    Args:
      path: of the PNG file.
      runs: of `adaptation.named`.

    Returns:
      Whether there was anything to draw.

    Raises:
      InputError: a router's file is damaged.
    """
    cascades = runs[runs["recipe"] == "cascade"]
    shown, settings = embedded.settings_of(cascades, RUNS)
    found = [(each.name, embedded.routed(each)) for each in shown]
    tables = [(name, clusters(images)) for name, images in found if images is not None]
    if not tables:
        return False
    wide = max(len(table.shares.columns) for _, table in tables)
    tall = max(len(table.shares) for _, table in tables)
    width, height = 4.0 + 0.13 * min(wide, 100), 1.4 + 0.24 * tall
    figure, panels = canvas.panels(len(tables), 1, width, height)
    for axes, (name, table) in zip(panels, tables):
        image = _panel(axes, table)
        axes.set_title(f"{name}: normalized mutual information {table.information:.2f}", fontsize=9)
    if settings > len(shown):
        figure.suptitle(f"The first {len(shown)} of {settings} settings", fontsize=9)
    bar = figure.colorbar(image, ax=panels, aspect=15 * len(panels))
    bar.set_label("share of the class", fontsize=8)
    bar.ax.tick_params(labelsize=7)
    canvas.save(figure, path)
    return True


def clusters(images: embedded.Routed) -> Clusters:
    """The table behind a heat map; classes stand by the cluster that has most of each.

    Classes without an image are left out; of equal shares, the first cluster counts.
    """
    from sklearn.metrics import normalized_mutual_info_score

    count = np.zeros((int(images.clusters.max()) + 1, len(images.classes)))
    np.add.at(count, (images.clusters, images.labels), 1)
    sizes = count.sum(axis=1).astype(int)
    kept = np.flatnonzero(count.sum(axis=0))
    shares = count[:, kept] / count[:, kept].sum(axis=0)
    order = np.lexsort((-shares.max(axis=0), shares.argmax(axis=0)))
    names = [images.classes[label] for label in kept[order]]
    information = normalized_mutual_info_score(images.labels, images.clusters)
    return Clusters(pd.DataFrame(shares[:, order], columns=names), sizes, float(information))


def _panel(axes: Any, table: Clusters) -> Any:
    shares = table.shares
    image = axes.imshow(shares.to_numpy(), cmap="Blues", vmin=0, vmax=1, aspect="auto")
    if len(shares.columns) <= NAMED:
        names = [canvas.shortened(name) for name in shares.columns]
        axes.set_xticks(range(len(names)), names, rotation=90, fontsize=7)
    else:
        axes.set_xticks([])
    axes.set_xlabel("class, by the cluster that has most of it", fontsize=8)
    rows = [f"{row} ({size:,} images)" for row, size in enumerate(table.sizes)]
    axes.set_yticks(range(len(rows)), rows, fontsize=7)
    axes.set_ylabel("cluster", fontsize=8)
    return image
