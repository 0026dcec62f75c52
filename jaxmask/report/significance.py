"""Whether a difference between two settings is more than seed noise."""

import math
import warnings
from collections.abc import Sequence

import numpy as np
import pandas as pd

from jaxmask.errors import InputError
from jaxmask.report import groups

LEVELS = ((0.001, "***"), (0.01, "**"), (0.05, "*"))
TESTS = ("welch", "paired")
TASK = ("dataset", "network", "config.data.", "config.network.")


def compare(
    frame: pd.DataFrame, baseline: str | None = None, metric: str = "accuracy"
) -> pd.DataFrame:
    """The summary of `groups.summarize`, with tests of every setting against the baseline.

    A setting is compared with the baseline at its own target density (the baseline `dense`: at
    any), with the same dataset and network, and equal in everything else in which the baseline's
    settings differ, unless the baseline names one of these. Columns, missing where there is no
    comparison:

    * `baseline`: its label; `difference`: mean - mean of the baseline; `difference_std`:
      `sqrt(std^2 + std_baseline^2)`, the deviation of the difference of two single runs;
    * `welch_t`, `welch_p`: Welch's t-test of all seeds of the one against all of the other;
    * `pairs`, `paired_t`, `paired_p`: the paired t-test over the `pairs` seeds that both have and
      for which both started from the same initial weights (equal `initial_sha256`);
    * `..._p_holm`: p after Holm's correction; the family of each test is all the comparisons of
      this table, over all methods and densities; `..._stars` of it: * p < 0.05, ** p < 0.01,
      *** p < 0.001.

    Args:
      frame: of `collect.collect`.
      baseline: a label, such as `snip USS` or `dense`, or one with the rest of its setting, such as
        `snip USS, initial=network`; None compares nothing.
      metric: a column of numbers.

    Raises:
      InputError: no run has the baseline, or there is no such metric.
    """
    runs, keys = groups.by_seed(frame, metric)
    summary = groups.summary_of(runs, keys, metric)
    compared = _baselines(summary, baseline)
    samples = _samples(runs, summary, keys)
    rows: list[dict[str, float | str | None]] = []
    for index, other in enumerate(compared):
        if other is None:
            rows.append({})
            continue
        one, two = samples[index], samples[other]
        together = pairs(one, two)
        welch_t, welch_p = welch(one["value"], two["value"])
        paired_t, paired_p = paired(together["value"], together["value_baseline"])
        rows.append(
            {
                "baseline": baseline,
                "difference": summary["mean"][index] - summary["mean"][other],
                "difference_std": math.hypot(summary["std"][index], summary["std"][other]),
                "welch_t": welch_t, "welch_p": welch_p,
                "pairs": len(together), "paired_t": paired_t, "paired_p": paired_p,
            }
        )  # fmt: skip
    names = ("baseline", "difference", "difference_std", "welch_t", "welch_p", "pairs",
             "paired_t", "paired_p")  # fmt: skip
    tests = pd.DataFrame(rows, columns=list(names), index=summary.index)
    numbers = [name for name in names if name != "baseline"]
    tests[numbers] = tests[numbers].astype("float64")
    for test in TESTS:
        corrected = holm(tests[f"{test}_p"])
        place = tests.columns.get_loc(f"{test}_p") + 1
        tests.insert(place, f"{test}_p_holm", corrected)
        tests.insert(place + 1, f"{test}_stars", [stars(p) for p in corrected])
    return pd.concat([summary, tests], axis=1)


def welch(a: Sequence[float], b: Sequence[float]) -> tuple[float, float]:
    """(t, two-sided p) of Welch's t-test, `t = (mean a - mean b) / sqrt(var a / n + var b / m)`.

    (NaN, NaN) if a sample has fewer than two values, or both have no variance.

    Source: B. L. Welch, Biometrika 34 (1947); scipy.stats.ttest_ind.
    """
    x, y = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if min(len(x), len(y)) < 2 or (_constant(x, x) and _constant(y, y)):
        return math.nan, math.nan
    from scipy import stats

    with warnings.catch_warnings():  # about a sample with almost no variance, which is fine
        warnings.simplefilter("ignore")
        result = stats.ttest_ind(x, y, equal_var=False)
    return float(result.statistic), float(result.pvalue)


def paired(a: Sequence[float], b: Sequence[float]) -> tuple[float, float]:
    """(t, two-sided p) of the paired t-test, `t = mean d / sqrt(var d / n)` of `d = a - b`.

    (NaN, NaN) for fewer than two pairs, or if all differences are equal.

    Source: Student, Biometrika 6 (1908); scipy.stats.ttest_rel.
    """
    x, y = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if len(x) < 2 or _constant(x - y, np.concatenate([x, y])):
        return math.nan, math.nan
    from scipy import stats

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = stats.ttest_rel(x, y)
    return float(result.statistic), float(result.pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction: of `m` values in order, `max over j <= i of (m - j + 1) p_j`.

    At most 1. NaN stays NaN and is not part of the family.

    Source: S. Holm, Scandinavian Journal of Statistics 6 (1979).
    """
    values = np.asarray(p_values, np.float64)
    corrected = np.full(len(values), np.nan)
    order = np.argsort(values, kind="stable")[: np.isfinite(values).sum()]  # NaN is last
    factors = np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(np.maximum.accumulate(factors * values[order]), 1.0)
    return corrected.tolist()


def stars(p: float) -> str:
    """`***` for p < 0.001, `**` for p < 0.01, `*` for p < 0.05, otherwise empty."""
    return next((mark for level, mark in LEVELS if p < level), "")


def _constant(values: np.ndarray, scale: np.ndarray) -> bool:
    # 0.9 - 0.8 and 0.8 - 0.7 differ in the last bit, and that is no variance
    return bool(np.ptp(values) <= 1e-12 * np.max(np.abs(scale), initial=0.0))


def _baselines(summary: pd.DataFrame, baseline: str | None) -> list[int | None]:
    """For every row of the summary, the row that it is compared with."""
    if baseline is None:
        return [None] * len(summary)
    further = groups.further(summary)
    labels, whole = groups.labels(summary), groups.series(summary, further)
    if baseline not in labels:
        if baseline not in whole:
            known = ", ".join(repr(name) for name in dict.fromkeys(labels))
            longer = [name for name in whole if name not in labels]
            more = f", or a whole setting such as {longer[0]!r}" if longer else ""
            raise InputError(f"no run has the baseline {baseline!r}; known: {known}{more}")
        labels = whole
    own = summary[[name == baseline for name in labels]]
    # nothing is pruned at a density of 1, so the dense network is compared at every density
    dense = set(own["method"]) == {groups.DENSE}
    columns = [] if dense else ["target_density"]
    for name in further:
        if name.startswith(TASK) or own[name].nunique(dropna=False) > 1:
            columns.append(name)

    def equal(row: int) -> list[int]:
        fits = pd.Series(True, own.index)
        for name in columns:
            value = summary[name][row]
            fits &= own[name].isna() if pd.isna(value) else own[name] == value
        return list(own.index[fits])

    found = [[] if labels[row] == baseline else equal(row) for row in summary.index]
    return [rows[0] if len(rows) == 1 else None for rows in found]


def _samples(runs: pd.DataFrame, summary: pd.DataFrame, keys: list[str]) -> list[pd.DataFrame]:
    """The runs of every row of the summary."""
    # Merging, unlike a comparison, takes a missing value as equal to a missing one.
    numbered = summary[keys].assign(group=range(len(summary)))
    merged = runs.merge(numbered, on=keys, how="left")
    return [merged[merged["group"] == group] for group in range(len(summary))]


def pairs(one: pd.DataFrame, two: pd.DataFrame) -> pd.DataFrame:
    """`value` and `value_baseline` of two settings' runs of equal seeds and initial weights."""
    on = ["seed", "initial_sha256"]
    columns = [*on, "value"]
    return one[columns].dropna().merge(two[columns].dropna(), on=on, suffixes=("", "_baseline"))
