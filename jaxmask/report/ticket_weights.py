"""The weights that tickets keep: how they were distributed at first, and where training took them.

To pool layers that begin at different scales, each weight is divided by the root mean square of
its layer's initial weights.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from jaxmask.errors import InputError
from jaxmask.report import groups
from jaxmask.run.result import fingerprint, read

Arrays = dict[str, np.ndarray]
DRAWN = 2**20
COLUMNS = {
    "initial_bimodality": "all initial: bimodality",
    "kept_bimodality": "kept initial: bimodality",
    "kept_small": "kept initial: small",
    "trained_bimodality": "trained: bimodality",
    "trained_small": "trained: small",
    "drift": "drift",
    "sign_changes": "sign changes",
}
CAPTION = (
    "Of the kept weights, mean ± sample standard deviation over {seeds}. Bimodality: Sarle's "
    "coefficient, (skewness² + 1) / kurtosis with its correction for small samples, of weights "
    "divided by the root mean square of their layer's initial ones: 0.33 for a normal "
    "distribution, 0.56 for a uniform one, above for two modes, 1 for two values. Small: the share "
    "with an absolute value below the median of their layer's initial weights; 0.5 by chance. "
    "Drift: the norm of the change in training over that of the initial values. Sign changes: the "
    "share whose sign training changed."
)


class Start(NamedTuple):
    """Initial weights that may be pruned, and what is equal for all runs that start from them.

    Attributes:
      weights: by path.
      sizes: the root mean square of each, or 1.
      medians: of the absolute values of each.
      bimodality: of all together, in units of `sizes`; of more than 2^20, of as many or half of
        them, evenly spaced.
    """

    weights: Arrays
    sizes: dict[str, float]
    medians: dict[str, float]
    bimodality: float


def start(initial: Arrays, paths: Iterable[str]) -> Start:
    """The start of runs with masks on these paths."""
    weights = {path: initial[path] for path in paths}
    sizes = {path: rms(leaf) for path, leaf in weights.items()}
    medians = {path: float(np.median(np.abs(leaf))) if leaf.size else 0.0
               for path, leaf in weights.items()}  # fmt: skip
    whole = joined([leaf / sizes[path] for path, leaf in weights.items()])
    return Start(weights, sizes, medians, bimodality(whole[:: -(-whole.size // DRAWN) or 1]))


def measures(masks: Mapping[str, np.ndarray], initial: Start, trained: Arrays) -> dict[str, float]:
    """The values of `COLUMNS`, by name, of one run; NaN for what there is nothing to measure of.

    Args:
      masks: bool arrays by path.
      initial: with these paths.
      trained: weights by path, with these paths among them; or {}.
    """
    found = {**dict.fromkeys(COLUMNS, np.nan), "initial_bimodality": initial.bimodality}
    for name, weights in (("kept", initial.weights), ("trained", trained)):
        if weights:
            kept = {path: weights[path][bits] for path, bits in masks.items()}
            below = joined([np.abs(leaf) < initial.medians[path] for path, leaf in kept.items()])
            values = joined([leaf / initial.sizes[path] for path, leaf in kept.items()])
            found[f"{name}_bimodality"] = bimodality(values)
            if below.size and np.isfinite(values).all():
                found[f"{name}_small"] = float(below.mean())
    if trained:
        before, after = (
            joined([weights[path][bits] for path, bits in masks.items()])
            for weights in (initial.weights, trained)
        )
        length = np.linalg.norm(before)
        found["drift"] = float(np.linalg.norm(after - before) / length) if length else np.nan
        if before.size and np.isfinite(after).all():  # NaN has no sign
            found["sign_changes"] = float((before * after < 0).mean())
    return found


def bimodality(values: np.ndarray) -> float:
    """Sarle's coefficient, `(g^2 + 1) / (k + 3 (n - 1)^2 / ((n - 2) (n - 3)))`.

    g is the sample skewness, k the sample excess kurtosis, both without bias for normal values.
    It is 1/3 for a normal distribution, 5/9 for a uniform one, 1 for two values; a strongly skewed
    distribution also has a high one. NaN for fewer than four values, or equal ones.

    Source: R. Pfister et al., Good things peak in pairs, Frontiers in Psychology 2013.

    Example:
      >>> round(bimodality(np.linspace(-1, 1, 1001)), 1)
      0.6
    """
    from scipy import stats

    n = len(values)
    if n < 4 or not np.isfinite(values).all() or np.ptp(values) <= 1e-9 * np.abs(values).max():
        return np.nan
    skew, kurtosis = stats.skew(values, bias=False), stats.kurtosis(values, bias=False)
    return float((skew**2 + 1) / (kurtosis + 3 * (n - 1) ** 2 / ((n - 2) * (n - 3))))


def tables(runs: pd.DataFrame, density: float | None) -> list[tuple[pd.DataFrame, str]]:
    """The measures of the runs at a density and of dense ones, with their caption; [] if none.

    Args:
      runs: of `collect.collect`, with the columns of `measures`.
    """
    names = [name for name in COLUMNS if name in runs and runs[name].notna().any()]
    placed, _ = groups.settings(runs)
    at = (placed["target_density"] == density) | (placed["method"] == groups.DENSE)
    if not names or runs[at.to_numpy()][names].isna().all(axis=None):
        return []
    cells: dict[str, dict[str, str]] = {}
    count = [0]
    for name in names:
        if runs[at.to_numpy()][name].isna().all():
            continue
        found = groups.summarize(runs, name)
        found = found.assign(series=groups.series(found, groups.further(found)))
        chosen = (found["target_density"] == density) | (found["method"] == groups.DENSE)
        for line in found[chosen].to_dict("records"):
            text = f"{line['mean']:.3f}" + f" ± {line['std']:.3f}" * (line["count"] > 1)
            cells.setdefault(line["series"], {})[name] = text
            count.append(line["count"])
    shown = [name for name in names if any(name in row for row in cells.values())]
    lines = [[series, *(row.get(name, "") for name in shown)] for series, row in cells.items()]
    least, most = min(count[1:]), max(count)
    seeds = f"{most} seed" + "s" * (most > 1) if least == most else f"{least} to {most} seeds"
    said = CAPTION.format(seeds=seeds)
    title = "" if density is None else f"Target density {density:g}. "
    return [(pd.DataFrame(lines, columns=["method", *map(COLUMNS.get, shown)]), title + said)]


def initial_file(folder: Path) -> tuple[Path, str] | None:
    """(the file of a run's initial weights, their fingerprint); None if its result names none.

    Raises:
      InputError: the result cannot be read.
    """
    told = read(folder).more.get("initial")
    if not isinstance(told, dict) or not {"file", "sha256"} <= told.keys():
        return None
    return folder / str(told["file"]), str(told["sha256"])


def load(place: Path, sha256: str = "") -> Arrays:
    """The parameters in a file of weights, by path; {} if there is no such file.

    Raises:
      InputError: it is damaged, or has another fingerprint than the given one.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    if not place.exists():
        return {}
    try:
        arrays = load_file(place)
    except (SafetensorError, OSError, ValueError, LookupError) as error:
        raise InputError(f"{place} is not a safetensors file ({error}); delete the run") from None
    if sha256 and fingerprint(arrays) != sha256:
        raise InputError(
            f"{place} has other weights than the runs started from; restore them, or delete the "
            "file to report without initial weights"
        )
    above = "params/"
    return {name.removeprefix(above): leaf for name, leaf in arrays.items() if name[:7] == above}


def rms(weights: np.ndarray) -> float:
    """The root mean square; 1 for weights that are all zero."""
    return float(np.sqrt(np.mean(np.square(weights, dtype=np.float64)))) if weights.any() else 1.0


def joined(leaves: Sequence[np.ndarray]) -> np.ndarray:
    """All their values, flat."""
    return np.concatenate([np.zeros(0), *(np.ravel(leaf) for leaf in leaves)])
