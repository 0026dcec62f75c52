"""Effective density: how much of what a pruned run keeps is connected, and what that explains."""

from typing import Any

import numpy as np
import pandas as pd

from jaxmask.report import groups, significance, summary

NAME = "effective_density"
LEAST = 8  # runs, below which a rank correlation says nothing
RESAMPLES = 2000

Table = tuple[pd.DataFrame, str]


def tables(runs: pd.DataFrame) -> list[Table]:
    """The tables about effective density, with their captions; none if no run has any.

    Args:
      runs: of `collect.collect`, which compare no methods.
    """
    if NAME not in runs or runs[NAME].isna().all():
        return []
    found = significance.compare(runs, metric=NAME)
    shown = [(summary.pivot(found), summary.caption(found))]
    explained = correlations(runs)
    return shown if explained.empty else [*shown, (_text(explained), CAPTION)]


CAPTION = (
    "Does density explain test accuracy over all pruned runs of a dataset and network? Spearman's "
    f"rank correlation with 95 % intervals of {RESAMPLES} bootstrap resamples of the runs; "
    "difference: effective density's less density's."
)


def correlations(runs: pd.DataFrame) -> pd.DataFrame:
    """Spearman's correlation of accuracy with density and with effective density.

    Of each dataset and network with at least 8 pruned and tested runs. The intervals are the 2.5
    and 97.5 percentiles over resamples of the runs, drawn with a fixed seed; runs that differ in
    their seed alone count as independent. A density that does not vary has NaN.

    Args:
      runs: of `collect.collect`.

    Returns:
      Columns `dataset`, `network`, `runs`; and for each of `density`, `effective_density` and
      `difference` (the second less the first) the value, `..._low` and `..._high`.
    """
    measured = ["accuracy", "density", NAME]
    kept = runs[runs["method"] != groups.DENSE].dropna(subset=measured)
    rows: list[dict[str, Any]] = []
    for (dataset, network), part in kept.groupby(["dataset", "network"], dropna=False):
        if len(part) < LEAST:
            continue
        row = {"dataset": dataset, "network": network, "runs": len(part)}
        values = part[measured].to_numpy(np.float64).T
        drawn = np.random.default_rng(0).integers(len(part), size=(RESAMPLES, len(part)))
        whole, resampled = (_spearman(values[:, at]) for at in (np.arange(len(part)), drawn))
        for name, value, among in zip(("density", NAME, "difference"), whole, resampled):
            among = among[np.isfinite(among)]
            defined = np.isfinite(value) and len(among)
            low, high = np.percentile(among, [2.5, 97.5]) if defined else (np.nan, np.nan)
            row |= {name: float(value), f"{name}_low": low, f"{name}_high": high}
        rows.append(row)
    return pd.DataFrame(rows)


def _spearman(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """[accuracy and two densities, ..., runs] -> the correlation of each density, and the second
    less the first; NaN where one does not vary."""
    from scipy import stats

    ranks = stats.rankdata(values, axis=-1)
    ranks -= ranks.mean(axis=-1, keepdims=True)
    sizes = np.sqrt((ranks**2).sum(axis=-1))
    with np.errstate(invalid="ignore"):
        one, two = ((ranks[0] * ranks[at]).sum(axis=-1) / (sizes[0] * sizes[at]) for at in (1, 2))
    return one, two, two - one


def _text(table: pd.DataFrame) -> pd.DataFrame:
    shown = table[["dataset", "network", "runs"]].fillna("").astype(str)
    for name in ("density", NAME, "difference"):
        cells = table[[name, f"{name}_low", f"{name}_high"]].itertuples(index=False)
        shown[name.replace("_", " ")] = [
            "" if np.isnan(value) else f"{value:.2f} [{low:.2f}, {high:.2f}]"
            for value, low, high in cells
        ]
    return shown
