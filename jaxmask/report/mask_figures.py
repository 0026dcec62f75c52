"""A plot of the masks of many runs at one density."""

import math
from pathlib import Path
from typing import Any

import pandas as pd

from jaxmask.report import canvas, find, one_density
from jaxmask.run.result import read


def layers(
    path: Path, runs: pd.DataFrame, styles: dict[str, dict[str, Any]], logarithmic: bool = True
) -> bool:
    """Density of each masked leaf, mean over seeds, one line per method; an empty leaf is at 0.

    Args:
      path: of the PNG file.
      runs: of `one_density.at_density`.
      styles: of `canvas.styles`, for each of their series.

    Returns:
      Whether there was anything to draw.
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
