"""Plots of the masks of many runs at one density."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from jaxmask import mask
from jaxmask.report import canvas, find, one_density
from jaxmask.run.result import read
from jaxmask.tree import named_leaves


def layers(
    path: Path, runs: pd.DataFrame, styles: dict[str, dict[str, Any]], logarithmic: bool = True
) -> bool:
    """Density of each masked leaf, mean over seeds, one line per method; an empty leaf is at 0.

    Args:
      path: of the PNG file.
      runs: of `one_density.at_density`.
      styles: of `canvas.styles`, for each of their series.

    Returns:
      Whether there was anything to draw; so for the other figures.
    """
    rows = [
        {"series": name, "leaf": leaf, "density": density}
        for name, folder in one_density.places(runs)
        for leaf, density in read(folder).density_by_leaf.items()
    ]
    if not rows:
        return False
    table = pd.DataFrame(rows)
    leaves = sorted(table["leaf"].unique(), key=find.natural)
    figure, axes = canvas.new(4.5 + min(0.22 * len(leaves), 9.0), 4.4)
    means = table.groupby(["series", "leaf"], sort=False)["density"].mean()
    for name in dict.fromkeys(table["series"]):
        mean = means[name].reindex(leaves)
        axes.plot(range(len(leaves)), mean, label=name, **styles[name])
    positive = means[means > 0]
    if not logarithmic:
        axes.set_ylim(0, 1)
    elif len(positive) == len(means):
        axes.set_yscale("log")
    elif len(positive):
        # logarithmic, but with a place for an empty leaf
        least = 10 ** math.floor(math.log10(positive.min()))
        axes.set_yscale("symlog", linthresh=least, linscale=0.3)
        axes.set_ylim(bottom=0)
    canvas.leaf_axis(axes, leaves)
    axes.set_ylabel("density of the layer")
    axes.set_title(one_density.title(runs), fontsize=9)
    canvas.legend(axes)
    canvas.save(figure, path)
    return True


def overlaps(runs: pd.DataFrame) -> pd.DataFrame:
    """Jaccard's index of every two series' masks of the same seed, mean over such seeds.

    NaN if two series have no seed in common, or masks of different networks.

    Raises:
      InputError: a mask file is damaged.
    """
    found = runs.loc[
        [one_density.mask_file(folder).exists() for _, folder in one_density.places(runs)]
    ]
    found = found.drop_duplicates(["series", "seed"])
    names = list(dict.fromkeys(found["series"]))
    total = pd.DataFrame(0.0, names, names)
    count = pd.DataFrame(0, names, names)
    for _, line in found.groupby("seed"):  # one seed at a time, as masks can be large
        masks = {
            name: mask.file.load(one_density.mask_file(folder))
            for name, folder in one_density.places(line)
        }
        for one in masks:
            for two in masks:
                if names.index(one) > names.index(two):
                    continue
                if _shapes(masks[one]) != _shapes(masks[two]):
                    continue
                index = mask.measure.overlap(masks[one], masks[two])
                for pair in {(one, two), (two, one)}:
                    total.loc[pair] += index
                    count.loc[pair] += 1
    return total / count.where(count > 0)


def overlap(path: Path, runs: pd.DataFrame) -> bool:
    """`overlaps` as a heat map; needs two series."""
    table = overlaps(runs)
    size = len(table)
    off_diagonal = table.where(~np.eye(size, dtype=bool))
    if size < 2 or off_diagonal.isna().all(axis=None):
        return False
    side = 2.4 + 0.42 * size
    figure = canvas.blank(side + 0.8, side)
    axes = figure.add_subplot()
    image = axes.imshow(table.to_numpy(), cmap="viridis", vmin=0, vmax=1)
    for row, column in np.argwhere(table.notna().to_numpy()):
        value = table.iloc[row, column]
        axes.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=7,
                  color="white" if value < 0.6 else "black")  # fmt: skip
    axes.set_xticks(range(size), table.columns, rotation=90, fontsize=7)
    axes.set_yticks(range(size), table.index, fontsize=7)
    axes.set_title(one_density.title(runs), fontsize=9)
    figure.colorbar(image, label="Jaccard index of the masks", shrink=0.8)
    canvas.save(figure, path)
    return True


def _shapes(masks: Any) -> dict[str, tuple[int, ...]]:
    return {name: leaf.shape for name, leaf in named_leaves(masks).items()}
