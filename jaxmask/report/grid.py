"""The report on many runs: results.csv and .parquet, summary.csv, table.md and plots.

Runs that compare methods (`adapt`, `self_mask`, `cascade`) have their own table and plots: accuracy
against bytes to store. All others (dense, pruned) show accuracy against density. Given both,
results.csv and summary.csv have the rows of both, table.md has two tables, and a baseline applies
to the runs that include it. Runs of `learn_scores` have a table of their learners, which is also
learners.csv; runs of `tickets` have their matrix, transfer.csv.
"""

import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from jaxmask import files
from jaxmask.errors import InputError
from jaxmask.report import (
    adaptation,
    adaptation_figures,
    canvas,
    collect,
    connectedness,
    few_labels,
    grid_figures,
    groups,
    learners,
    mask_figures,
    methods,
    one_density,
    overlap,
    overlap_figures,
    published,
    schedules,
    significance,
    summary,
    ticket_weights,
    tickets,
    transfer,
    weight_figures,
)

Table = tuple[pd.DataFrame, str]


class Grid(NamedTuple):
    """A report before it is written."""

    runs: pd.DataFrame  # of `collect.collect`, with the columns of `ticket_weights`
    groups: pd.DataFrame  # of `significance.compare`, and of `adaptation.compare` below them
    table: pd.DataFrame | None  # of `summary.pivot`; None if all runs compare methods
    caption: str
    density: float | None  # whose masks and weights are drawn
    adapted: adaptation.Adaptation | None  # if there are runs that compare methods
    few: adaptation.Adaptation | None  # if `self_mask` runs among them used few labels
    overlaps: pd.DataFrame  # of `tickets.read`
    more: list[Table]  # further tables of pruned networks, with their captions
    learned: learners.Learners | None  # if there are runs of `learn_scores`
    transferred: transfer.Transfer | None  # if there are runs of `tickets`


def write(
    folders: Iterable[str | Path], out: str | Path, baseline: str | None = None
) -> pd.DataFrame:
    """Reports on finished runs, in the folder `out`; returns the summary.

    Args:
      folders: run directories, or folders of them.
      out: created if needed; files of an earlier report in it are replaced.
      baseline: a label such as `snip USS` or `snip USS, lenet5`, or a method such as `full`, that
        the others are tested against; None tests nothing.

    Raises:
      InputError: there is no finished run, or none of the baseline; then nothing is written.

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
) -> Grid:
    """The report without its files: everything that can be checked is checked.

    Args:
      folders, baseline: as `write`.
      metric: the column of the runs to summarize; None is the accuracy, or the density if
        nothing was trained.
      test: the one whose stars the table shows, `welch` or `paired`; the summary has both.
      density: the one whose masks and weights are drawn; None is that of most methods.
      published_file, published_rows: as `published.read`; None shows no published figures.

    Raises:
      InputError: no finished run; no such baseline, metric or density; no such published rows.
    """
    runs = collect.collect(folders)
    pruned, adapting = _parts(runs)
    alone = pruned.empty and adapting.empty
    matrices = transfer.make(runs, baseline if alone else None)
    learned = learners.make(runs, baseline if alone and matrices is None else None)
    chosen = one_density.chosen_density(pruned, density)
    if published_file and pruned.empty:
        raise InputError("published figures need pruned networks; there are none here")
    pruned, overlaps = tickets.read(pruned)
    on_few = few_labels.runs_of(adapting)
    of_pruned, of_adapting = _baselines(pruned, adapting, on_few, baseline)
    compared: list[pd.DataFrame] = []
    table, caption, adapted, few = None, "", None, None
    more: list[Table] = []
    if len(pruned):
        found = significance.compare(pruned, of_pruned, metric or _measured(pruned))
        names = groups.series(found, groups.further(found))
        labels = list(dict.fromkeys([*groups.labels(found), *names]))
        beside = published.read(published_file, labels, published_rows) if published_file else {}
        table = summary.pivot(found, test, beside)
        caption = summary.caption(found, test, bool(beside))
        compared.append(found)
        more = _more(pruned, overlaps, chosen, metric or _measured(pruned), beside)
    if len(adapting):
        adapted = adaptation.make(adapting, of_adapting, metric or _measured(adapting), test)
        compared.append(adapted.groups)
        few = few_labels.make(on_few, baseline, metric or "accuracy", test)
    if few is not None:
        compared.append(few.groups)
    repeated = sum(groups.repeated(part) for part in (pruned, adapting) if len(part))
    if repeated:
        print(
            f"jaxmask: {repeated} of {len(runs)} runs repeat another run's setting and seed; "
            "their mean counts as one run",
            file=sys.stderr,
        )
    if alone:
        compared += [part.groups for part in (learned, matrices) if part is not None]
    both = pd.concat(compared, ignore_index=True) if len(compared) > 1 else compared[0]
    runs = _with_columns(runs, pruned)
    return Grid(runs, both, table, caption, chosen, adapted, few, overlaps, more, learned,
                matrices)  # fmt: skip


def tables(report: Grid) -> list[tuple[pd.DataFrame, str, set[tuple[int, int]]]]:
    """The tables of a report with their captions, and the cells (row, column) of the best."""
    found: list[tuple[pd.DataFrame, str, set[tuple[int, int]]]] = []
    if report.table is not None:
        found.append((report.table, report.caption, set()))
        found += [(*shown, set()) for shown in report.more if shown[1] != report.caption]
    for part in (report.adapted, report.few):
        if part is not None:
            found.append((part.table, part.caption, part.best))
    if report.learned is not None:
        found.append((report.learned.table, report.learned.caption, set()))
    if report.transferred is not None:
        found.append((report.transferred.table, report.transferred.caption, set()))
    return found


def save(report: Grid, out: str | Path) -> None:
    """Writes the files of a report, each whole or not at all; empty plots are left out.

    A plot of an earlier report that is now left out is removed.

    Raises:
      InputError: `out` is not a folder; a mask or a file of weights is damaged, and then nothing is
        written.
    """
    out = Path(out)
    if any(place.exists() and not place.is_dir() for place in (out, *out.parents)):
        raise InputError(f"{out} is not a folder; give another folder for the report")
    pictures = _drawn(report)  # first, as they read masks and weights, which can be damaged
    (out / "figures").mkdir(parents=True, exist_ok=True)
    collect.write_table(report.runs, out / "results.csv")
    collect.write_table(report.runs, out / "results.parquet")
    collect.write_table(report.groups, out / "summary.csv")
    for name, table in (
        (few_labels.NAME, None if report.few is None else report.few.runs),
        ("overlap", report.overlaps if len(report.overlaps) else None),
        ("learners", None if report.learned is None else report.learned.rows),
        (transfer.NAME, None if report.transferred is None else report.transferred.rows),
    ):
        if table is None:
            (out / f"{name}.csv").unlink(missing_ok=True)
        else:
            collect.write_table(table, out / f"{name}.csv")
    texts = [summary.markdown(*shown) for shown in tables(report)]
    files.replace(out / "table.md", "\n".join(texts))
    for name, content in pictures.items():
        path = out / "figures" / f"{name}.png"
        if content is None:
            path.unlink(missing_ok=True)
        else:
            files.replace(path, content)


def _drawn(report: Grid) -> dict[str, bytes | None]:
    """The plots as PNG by name; None if there is nothing to draw."""
    pruned, _ = _parts(report.runs)
    at = one_density.at_density(pruned, report.density)
    styles = canvas.styles(one_density.pruned(pruned))
    shared = report.overlaps[report.overlaps["target_density"] == report.density]
    title = "" if report.density is None else f"target density {report.density:g}"
    drawings: dict[str, Callable[[Path], bool]] = {
        "against_density": lambda path: grid_figures.against_density(path, report.groups),
        "change_against_baseline": lambda path: grid_figures.change(path, report.groups),
        "change_against_own_schedule": lambda path: _by_schedule(path, pruned, report, styles),
        "density_by_layer": lambda path: mask_figures.layers(path, at, styles),
        transfer.NAME: lambda path: transfer.heat_map(path, report.transferred),
        "mask_overlap": lambda path: overlap_figures.heat_map(path, shared, title),
        "ticket_clusters": lambda path: overlap_figures.clusters(path, shared, title),
        "overlap_against_density": lambda path: overlap_figures.against_density(
            path, report.overlaps, styles
        ),
        "kept_weights": lambda path: weight_figures.weights(path, at),
        "kept_initial_weights": lambda path: weight_figures.initial_weights(path, at),
        "weights_against_density": lambda path: _weights(path, pruned, styles),
        "steps": lambda path: _steps(path, pruned),
        **adaptation_figures.drawings(report.adapted),
        few_labels.FIGURE: lambda path: few_labels.draw(path, report.few),
    }
    if pruned.empty:  # the shorter name is free
        one, two = "density_by_layer", "density_by_layer_adapt"
        drawings[one], drawings[two] = drawings[two], drawings[one]
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "drawn.png"
        return {name: path.read_bytes() if draw(path) else None for name, draw in drawings.items()}


def _by_schedule(path: Path, runs: pd.DataFrame, report: Grid, styles: canvas.Style) -> bool:
    if runs.empty:
        return False
    metric = report.groups["metric"].iloc[0]
    changed = schedules.changes(runs, metric)
    return grid_figures.change_by_schedule(path, changed, metric, styles)


def _weights(path: Path, runs: pd.DataFrame, styles: canvas.Style) -> bool:
    titles = {name: title for name, title in ticket_weights.COLUMNS.items()
              if name in runs and name != "initial_bimodality"}  # fmt: skip
    summaries = {name: groups.summarize(runs, name) for name in titles}
    return grid_figures.measures(path, summaries, titles, styles)


def _steps(path: Path, runs: pd.DataFrame) -> bool:
    if runs["chosen_step"].isna().all():
        return False
    return grid_figures.steps(path, groups.summarize(runs, "chosen_step"))


def _more(
    pruned: pd.DataFrame,
    overlaps: pd.DataFrame,
    density: float | None,
    metric: str,
    beside: published.Published,
) -> list[Table]:
    """The tables after the first: by schedule, steps, overlap, weights, connected weights."""
    found = schedules.tables(pruned, metric, beside)
    if pruned["chosen_step"].notna().any():
        steps = significance.compare(pruned, metric="chosen_step")
        found.append((summary.pivot(steps), summary.caption(steps)))
    found += overlap.tables(overlaps)
    found += ticket_weights.tables(pruned, density)
    return found + connectedness.tables(pruned)


def _with_columns(runs: pd.DataFrame, pruned: pd.DataFrame) -> pd.DataFrame:
    """All runs, with the columns that some of them have been given."""
    new = [name for name in pruned if name not in runs]
    return runs.merge(pruned[["folder", *new]], on="folder", how="left") if new else runs


def _parts(runs: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The runs of one network each, and those that compare methods, named by their settings."""
    adapting = runs[runs["recipe"].isin(methods.RECIPES)].reset_index(drop=True)
    apart = [*methods.RECIPES, learners.RECIPE, transfer.RECIPE]
    single = runs[~runs["recipe"].isin(apart)].reset_index(drop=True)
    return single, adaptation.named(adapting) if len(adapting) else adapting


def _measured(runs: pd.DataFrame) -> str:
    return "density" if runs["accuracy"].isna().all() else "accuracy"


def _baselines(
    pruned: pd.DataFrame, adapting: pd.DataFrame, on_few: pd.DataFrame, baseline: str | None
) -> tuple[str | None, str | None]:
    """The baseline for each part; given both, only for those that include it."""
    if len(on_few) and baseline in set(on_few["method"]):
        return None, None
    if baseline is None or pruned.empty or adapting.empty:
        return baseline, baseline
    settings = [groups.settings(part)[0] for part in (pruned, adapting)]
    known = [dict.fromkeys([*groups.labels(each), *each["series"]]) for each in settings]
    if not any(baseline in labels for labels in known):
        names = ", ".join(repr(name) for labels in known for name in labels)
        raise InputError(f"no run has the baseline {baseline!r}; known: {names}")
    one, two = (baseline if baseline in labels else None for labels in known)
    return one, two
