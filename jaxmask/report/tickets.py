"""The masks and weights of pruned runs, read once: what tickets share, and what they keep."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from jaxmask import mask, signals
from jaxmask.errors import InputError
from jaxmask.report import groups, one_density, overlap, ticket_weights
from jaxmask.tree import named_leaves


class Tickets(NamedTuple):
    """What was read.

    Attributes:
      runs: the given ones, with the columns of `ticket_weights.measures` if any run has values.
      overlaps: rows of `overlap.pairs` of each density and seed, with the columns
        `overlap.COLUMNS`.
    """

    runs: pd.DataFrame
    overlaps: pd.DataFrame


def read(runs: pd.DataFrame) -> Tickets:
    """Reads each run's mask, weights and initial weights, as far as it has them.

    A file of initial weights that is missing is reported on stderr. Of runs that repeat a setting
    and a seed, the first counts in `overlaps`.

    Args:
      runs: of `collect.collect`, which compare no methods.

    Raises:
      InputError: a file is damaged, or does not belong to its run.
    """
    placed, keys = groups.settings(runs)
    placed = overlap.placed(placed.assign(place=range(len(runs))), keys)
    placed = groups.ordered(placed[placed["target_density"].notna()], ["series", "seed"])
    measured: dict[int, dict[str, float]] = {}
    rows: list[dict[str, Any]] = []
    files = _Initial()
    by = ["target_density", "seed"]
    for (density, seed), part in placed.groupby(by, sort=False, dropna=False):
        chosen: dict[str, overlap.Ticket] = {}  # one seed at a time, as masks can be large
        for line in part.to_dict("records"):
            signals.obey()
            folder = Path(line["folder"])
            bits = masks(folder)
            if bits is None:
                continue
            measured[line["place"]] = _measured(folder, bits, files)
            if line["method"] != groups.DENSE and not pd.isna(seed):
                chosen.setdefault(line["series"], overlap.ticket(line, bits))
        of_seed = {"target_density": density, "seed": seed}
        rows += [{**of_seed, **row} for row in overlap.pairs(list(chosen.values()))]
    files.report()
    columns = pd.DataFrame([measured.get(at, {}) for at in range(len(runs))], index=runs.index)
    return Tickets(
        pd.concat([runs, columns.dropna(axis="columns", how="all")], axis="columns"),
        pd.DataFrame(rows, columns=overlap.COLUMNS),
    )


class _Initial:
    """Files of initial weights: the last is kept, as runs of one seed share theirs."""

    def __init__(self) -> None:
        self._last: tuple[Any, ticket_weights.Start | None] = None, None
        self._missing: list[Path] = []

    def of(self, folder: Path, bits: Mapping[str, np.ndarray]) -> ticket_weights.Start | None:
        """What a run started from; None if it names no file, or has lost it."""
        told = ticket_weights.initial_file(folder)
        if told is None:
            return None
        shapes = tuple((path, leaf.shape) for path, leaf in bits.items())
        key = (told[0].resolve(), told[1], shapes)
        if self._last[0] != key:
            initial = ticket_weights.load(*told)
            if initial:
                check(bits, initial, told[0])
            self._last = key, ticket_weights.start(initial, bits) if initial else None
        if self._last[1] is None:
            self._missing.append(folder)
        return self._last[1]

    def report(self) -> None:
        """Tells which runs have lost their file."""
        if self._missing:
            many = f" (and of {len(self._missing) - 1} more)" * (len(self._missing) > 1)
            print(
                f"jaxmask: the initial weights of {self._missing[0]}{many} are missing; their "
                "distributions and drift are left out",
                file=sys.stderr,
            )


def masks(folder: Path) -> dict[str, np.ndarray] | None:
    """A run's final mask, bool arrays by path; None if it has none.

    Raises:
      InputError: the file is damaged.
    """
    place = one_density.mask_file(folder)
    if not place.exists():
        return None
    leaves = named_leaves(mask.file.load(place))
    return {path: np.asarray(leaf) > 0 for path, leaf in leaves.items()}


def check(masks: Mapping[str, np.ndarray], weights: ticket_weights.Arrays, place: Path) -> None:
    """Raises InputError, naming the file, unless it has weights for each leaf of the mask."""
    for path, bits in masks.items():
        if path not in weights or weights[path].shape != bits.shape:
            raise InputError(f"{place} has no weights for the mask's {path!r}; delete the run")


def _measured(folder: Path, bits: Mapping[str, np.ndarray], files: _Initial) -> dict[str, float]:
    initial, place = files.of(folder, bits), folder / "weights.safetensors"
    trained = ticket_weights.load(place)
    if trained:
        check(bits, trained, place)
    return {} if initial is None else ticket_weights.measures(bits, initial, trained)
