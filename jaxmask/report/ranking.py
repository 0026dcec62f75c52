"""A plot of many settings at one density: which is best, and by how much."""

from pathlib import Path

import pandas as pd

from jaxmask.report import canvas, groups


def ranking(path: Path, table: pd.DataFrame, label: str, factor: float = 1) -> bool:
    """Means with bars of one standard deviation, the highest at the top, one row per setting.

    Dense networks are gray lines.

    Args:
      path: of the PNG file.
      table: with the columns `series`, `method`, `mean` and `std`, of one density.
      label: of the axis.
      factor: of all numbers: 100 for shares in percent.

    Returns:
      True: there is always something to draw.
    """
    dense = table["method"] == groups.DENSE
    rows = table[~dense].sort_values("mean", kind="stable")
    figure, axes = canvas.new(6.5, 1.0 + 0.2 * max(len(rows), 3))
    for kind, line in zip(("-", "--", ":", "-.") * len(table), table[dense].to_dict("records")):
        mean, name = factor * line["mean"], line["series"]
        axes.axvline(mean, color="0.4", linewidth=1, linestyle=kind, label=name, zorder=1)
    places, std = range(len(rows)), factor * rows["std"].fillna(0)
    axes.errorbar(factor * rows["mean"], places, xerr=std, fmt="o", markersize=4, capsize=2,
                  elinewidth=0.8)  # fmt: skip
    axes.set_yticks(places, rows["series"], fontsize=7)
    canvas.widen(figure, axes.get_yticklabels(), 1 / 2)
    axes.set_ylim(-0.7, len(rows) - 0.3)
    density = rows["target_density"].iloc[0]
    axes.set_xlabel(f"{label}, target density {density:.3g}")
    if dense.any():
        axes.legend(fontsize=7, loc="lower right")
    canvas.save(figure, path)
    return True
