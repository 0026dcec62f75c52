"""The pruned runs of one density, to inspect their masks and weights."""

import math
from pathlib import Path

import pandas as pd

from jaxmask.errors import InputError
from jaxmask.report import groups


def chosen_density(frame: pd.DataFrame, density: float | None = None) -> float | None:
    """The density to draw: the requested one, else that of most series, the smallest of several.

    None if no network is pruned.

    Raises:
      InputError: no pruned network has the requested density.
    """
    counts = pruned(frame).groupby("target_density")["series"].nunique()
    if density is not None:
        close = [known for known in counts.index if math.isclose(known, density, rel_tol=1e-6)]
        if not close:
            known = ", ".join(f"{value:g}" for value in counts.index) or "none"
            raise InputError(f"no pruned run has target density {density:g}; known: {known}")
        return close[0]
    return None if counts.empty else float(counts.index[counts == counts.max()].min())


def at_density(frame: pd.DataFrame, density: float | None) -> pd.DataFrame:
    """The pruned runs of a density; None: none."""
    runs = pruned(frame)
    return runs[runs["target_density"] == density]


def pruned(frame: pd.DataFrame) -> pd.DataFrame:
    """The runs of pruned networks, with their `series`, in the order of a summary."""
    runs, _ = groups.settings(frame)
    runs = runs[(runs["method"] != groups.DENSE) & runs["target_density"].notna()]
    return groups.ordered(runs, ["series", "seed"])


def places(runs: pd.DataFrame) -> list[tuple[str, Path]]:
    """(series, folder) of every run."""
    return list(zip(runs["series"], map(Path, runs["folder"])))


def mask_file(folder: Path) -> Path:
    """Where a run keeps its final mask."""
    return folder / "masks" / "ticket.mask"


def title(runs: pd.DataFrame) -> str:
    """The title of a figure of these runs; empty if they have no target."""
    density = runs["target_density"].iloc[0]
    return "" if math.isnan(density) else f"target density {density:g}"
