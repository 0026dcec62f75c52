"""The report on many runs: results.csv and .parquet, summary.csv, table.md and pictures."""

import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from jaxmask.errors import InputError
from jaxmask.report import (
    canvas,
    collect,
    grid_figures,
    groups,
    mask_figures,
    one_density,
    published,
    significance,
    summary,
    weight_figures,
)
from jaxmask.train.records import replace_file, replace_text


class Report(NamedTuple):
    """What a report says, before it is written."""

    runs: pd.DataFrame  # of `collect.collect`
    groups: pd.DataFrame  # of `significance.compare`
    table: pd.DataFrame  # of `summary.pivot`
    caption: str
    density: float | None  # whose masks and weights are drawn


def write(
    folders: Iterable[str | Path], out: str | Path, baseline: str | None = None
) -> pd.DataFrame:
    """Reports on finished runs, in the folder `out`; returns the summary.

    Args:
      folders: run directories, or folders of them.
      out: is made where needed; files of an earlier report in it are replaced.
      baseline: a label such as `snip USS` that the others are tested against; None tests nothing.

    Raises:
      InputError: no finished run is found, or none of the baseline; then nothing is written.

    Example:
      >>> report.write(["runs/grid"], "runs/grid/report", baseline="snip USS")  # doctest: +SKIP
    """
    found = make(folders, baseline)
    save(found, out)
    return found.groups


def make(
    folders: Iterable[str | Path],
    baseline: str | None = None,
    *,
    metric: str | None = None,
    test: str = "welch",
    density: float | None = None,
    published_file: str | Path | None = None,
    published_rows: Iterable[str] = (),
) -> Report:
    """The report without its files: everything that can be checked is checked.

    Args:
      folders, baseline: as `write`.
      metric: the column of the runs that is summarised; None is the accuracy, or the density
        where nothing was trained.
      test: whose stars the table shows, `welch` or `paired`; the summary has both.
      density: whose masks and weights are drawn; None is that of most methods.
      published_file, published_rows: as `published.read`; None shows no published figures.

    Raises:
      InputError: no finished run; no such baseline, metric or density; no such published rows.
    """
    runs = collect.collect(folders)
    chosen = one_density.chosen_density(runs, density)
    if metric is None:
        metric = "density" if runs["accuracy"].isna().all() else "accuracy"
    compared = significance.compare(runs, baseline, metric)
    labels = list(dict.fromkeys(groups.labels(compared)))
    beside = published.read(published_file, labels, published_rows) if published_file else {}
    repeated = groups.repeated(runs)
    if repeated:
        print(
            f"jaxmask: {repeated} of {len(runs)} runs repeat another run's setting and seed; "
            "their mean counts as one run",
            file=sys.stderr,
        )
    table = summary.pivot(compared, test, beside)
    return Report(runs, compared, table, summary.caption(compared, test, bool(beside)), chosen)


def save(report: Report, out: str | Path) -> None:
    """Writes the files of a report, each whole or not at all; empty pictures are left out.

    A picture of an earlier report that is left out now is removed.

    Raises:
      InputError: `out` is no folder; a mask or a file of weights is damaged, and then nothing is
        written.
    """
    out = Path(out)
    if any(place.exists() and not place.is_dir() for place in (out, *out.parents)):
        raise InputError(f"{out} is no folder; give another folder for the report")
    pictures = _drawn(report)  # first, for they read masks and weights, which can be damaged
    (out / "figures").mkdir(parents=True, exist_ok=True)
    collect.write_table(report.runs, out / "results.csv")
    collect.write_table(report.runs, out / "results.parquet")
    collect.write_table(report.groups, out / "summary.csv")
    replace_text(out / "table.md", summary.markdown(report.table, report.caption))
    for name, content in pictures.items():
        path = out / "figures" / f"{name}.png"
        if content is None:
            path.unlink(missing_ok=True)
        else:
            replace_file(path, content)


def _drawn(report: Report) -> dict[str, bytes | None]:
    """The pictures as PNG by their names; None where there is nothing to draw."""
    at = one_density.at_density(report.runs, report.density)
    styles = canvas.styles(one_density.pruned(report.runs))
    drawings: dict[str, Callable[[Path], bool]] = {
        "against_density": lambda path: grid_figures.against_density(path, report.groups),
        "change_against_baseline": lambda path: grid_figures.change(path, report.groups),
        "density_by_layer": lambda path: mask_figures.layers(path, at, styles),
        "mask_overlap": lambda path: mask_figures.overlap(path, at),
        "kept_weights": lambda path: weight_figures.weights(path, at),
        "steps": lambda path: _steps(path, report.runs),
    }
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "drawn.png"
        return {name: path.read_bytes() if draw(path) else None for name, draw in drawings.items()}


def _steps(path: Path, runs: pd.DataFrame) -> bool:
    if runs["chosen_step"].isna().all():
        return False
    return grid_figures.steps(path, groups.summarise(runs, "chosen_step"))
