"""What a mask that was found on one task is worth on another: runs of the recipe `tickets`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from jaxmask import files, maskfile
from jaxmask.maskfile import compare
from jaxmask.report import canvas, collect, groups, significance, summary
from jaxmask.run.result import read
from jaxmask.tree import named_leaves

RECIPE, NAME, OVERLAP = "tickets", "transfer", "overlap"
TICKET = "ticket"  # what found a mask, besides criteria
SPLITS = {"accuracy": "", "validation_accuracy": " (validation)"}
# what says which tasks and masks there are: rows and columns have these
NO_SETTING = ("config.tasks", "config.one_shot", "config.mask_from", "config.rounds")
CAPTION = (
    "Accuracy in % of each task (columns) trained with the mask in the row, from the same starting "
    "weights with a new head: {seeds}. Dense: without a mask."
)


class Transfer(NamedTuple):
    """A part of a report.

    Attributes:
      rows: one per run and cell of its matrix, with `difference` to the whole network's accuracy.
      groups: `significance.compare` of their accuracies on the test split.
      table, caption: of their means over seeds, on the test and the validation split.
      means: (labels of the masks, tasks) -> mean accuracy on the test split; `differences` alike.
    """

    rows: pd.DataFrame
    groups: pd.DataFrame
    table: pd.DataFrame
    caption: str
    means: pd.DataFrame
    differences: pd.DataFrame


def make(runs: pd.DataFrame, baseline: str | None = None) -> Transfer | None:
    """The matrices of runs of the recipe `tickets`; None if there are none.

    Args:
      runs: of `collect.collect`.
      baseline: a mask, such as "random", or "dense", that the others are tested against.

    Raises:
      InputError: a result cannot be read; there is no such baseline.
    """
    own = runs[runs["recipe"] == RECIPE]
    gone = [name for name in own if name.startswith(NO_SETTING)]
    own = own.drop(columns=gone)
    if own.empty:
        return None
    rows = [
        {**line, **cell}
        for line in own.to_dict("records")
        for cell in cells_of(read(Path(line["folder"])).more["cells"])
    ]
    return of_rows(pd.DataFrame(rows), baseline)


def cells_of(cells: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The cells of a run as rows of runs: the mask is the `method`, the target the `dataset`."""
    whole = {cell["target"]: cell["accuracy"] for cell in cells if cell["mask"] == groups.DENSE}
    return [
        {**cell, "method": _title(cell), "schedule": "", "dataset": cell["target"],
         "difference": cell["accuracy"] - whole[cell["target"]]}
        for cell in cells
    ]  # fmt: skip


def of_rows(rows: pd.DataFrame, baseline: str | None = None) -> Transfer:
    """The tables of rows with the columns of `cells_of`, and those of a setting."""
    found = {name: _means(rows, name) for name in (*SPLITS, "difference")}
    means, targets = found["accuracy"], list(dict.fromkeys(rows["dataset"]))
    labels = list(dict.fromkeys(means["label"]))
    table = pd.DataFrame({"mask": labels})
    for name, said in SPLITS.items():
        cells = {(line["label"], line["dataset"]): _cell(line)
                 for line in found[name].to_dict("records")}  # fmt: skip
        if cells:
            for target in targets:
                table[f"{target}{said}"] = [cells.get((each, target), "") for each in labels]
    shown = [
        found[name].pivot(index="label", columns="dataset", values="mean").loc[labels, targets]
        for name in ("accuracy", "difference")
    ]
    tested = significance.compare(rows, baseline)
    return Transfer(rows, tested, table, CAPTION.format(seeds=summary.seeds(means)), *shown)


def write(folder: Path, cells: Sequence[Mapping[str, Any]], masks: Mapping[str, Path]) -> None:
    """Writes `transfer.md`, `transfer.csv`, `overlap.csv` and the figure into a run directory.

    Args:
      masks: the files of all masks, by their names in the cells.
    """
    made = of_rows(pd.DataFrame(cells_of(cells)).assign(seed=0))
    collect.write_table(pd.DataFrame(cells), folder / f"{NAME}.csv")
    shared = overlaps(masks)
    collect.write_table(shared, folder / f"{OVERLAP}.csv")
    tickets = list(dict.fromkeys(cell["mask"] for cell in cells if cell["found_by"] == TICKET))
    texts = [summary.markdown(made.table, made.caption.replace(": 1 seed.", "."))]
    texts += [summary.markdown(*shown) for shown in _overlap_tables(shared, tickets)]
    files.replace(folder / f"{NAME}.md", "\n".join(texts))
    heat_map(folder / "figures" / f"{NAME}.png", made)


def overlaps(masks: Mapping[str, Path]) -> pd.DataFrame:
    """What every two masks share: one row for each leaf, and one (leaf "") for all.

    Columns `one`, `two`, `leaf`, `both` (weights that both keep), `by_chance` (expected of
    independent masks that keep as many of each leaf), `ratio`: the first over the second.
    """
    read = {
        name: {at: np.asarray(leaf) > 0 for at, leaf in named_leaves(maskfile.load(path)).items()}
        for name, path in masks.items()
    }
    names = list(read)
    leaves = list(next(iter(read.values())))
    counts = {leaf: compare.counted([read[name][leaf] for name in names]) for leaf in leaves}
    rows = []
    for i, j in zip(*np.triu_indices(len(names), 1)):
        pairs = [(leaf, each.both[i, j], each.both_by_chance[i, j])
                 for leaf, each in counts.items()]  # fmt: skip
        total = ("", sum(both for _, both, _ in pairs), sum(chance for *_, chance in pairs))
        rows += [
            {"one": names[i], "two": names[j], "leaf": leaf, "both": int(both),
             "by_chance": float(chance), "ratio": float(both / chance) if chance else np.nan}
            for leaf, both, chance in (total, *pairs)
        ]  # fmt: skip
    columns = ["one", "two", "leaf", "both", "by_chance", "ratio"]
    return pd.DataFrame(rows, columns=columns)


def heat_map(path: Path, made: Transfer | None) -> bool:
    """The matrix as one picture: accuracies, colored by the difference to the whole network's.

    Returns whether there is one.
    """
    if made is None:
        return False
    means, differences = made.means.to_numpy(), 100 * made.differences.to_numpy()
    rows, columns = means.shape
    figure = canvas.blank(3.4 + 0.85 * columns, 1.4 + 0.34 * rows)
    axes = figure.add_subplot()
    most = max(float(np.nanmax(np.abs(differences))), 0.1)
    image = axes.imshow(differences, cmap="RdBu", vmin=-most, vmax=most, aspect="auto")
    for row, column in np.argwhere(np.isfinite(means)):
        value = differences[row, column]
        axes.text(column, row, f"{100 * means[row, column]:.1f}", ha="center", va="center",
                  fontsize=7, color="white" if abs(value) > 0.6 * most else "black")  # fmt: skip
    axes.set_xticks(range(columns), made.means.columns, fontsize=8)
    axes.set_yticks(range(rows), made.means.index, fontsize=7)
    axes.set_xlabel("task that is trained", fontsize=8)
    axes.set_ylabel("mask", fontsize=8)
    axes.set_title("test accuracy (%)", fontsize=9)
    figure.colorbar(image, label="difference to dense (percentage points)", shrink=0.8)
    canvas.save(figure, path)
    return True


def _title(cell: Mapping[str, Any]) -> str:
    """What a row is called: "ticket of trec6"."""
    known, source = cell["found_by"] or cell["mask"], cell["source"]
    return f"{known} of {source}" if source else str(known)


def _means(rows: pd.DataFrame, name: str) -> pd.DataFrame:
    """Mean over seeds of each cell, with the `label` of its row; without cells that have none."""
    if rows[name].isna().all():
        return pd.DataFrame(columns=["label", "dataset", "mean", "std", "count"])
    found = groups.summarize(rows.assign(**{name: rows[name].astype("float64")}), name)
    order = {method: at for at, method in enumerate(dict.fromkeys(rows["method"]))}
    found = found.sort_values("method", key=lambda column: column.map(order), kind="stable")
    if "dataset" not in found:
        found["dataset"] = rows["dataset"].iloc[0]
    further = [each for each in groups.further(found) if each != "dataset"]
    labels = groups.series(found, further)
    densities = found["target_density"][found["method"] != groups.DENSE]
    if densities.nunique() > 1:
        whole = found["method"] == groups.DENSE
        labels = [
            label if dense else f"{label}, {density:g}"
            for label, dense, density in zip(labels, whole, found["target_density"])
        ]
    return found.assign(label=labels)


def _cell(line: Mapping[str, Any]) -> str:
    spread = f" ± {100 * line['std']:.2f}" if line["count"] > 1 else ""
    return f"{100 * line['mean']:.2f}{spread}"


def _overlap_tables(shared: pd.DataFrame, tickets: Sequence[str]) -> list[tuple[pd.DataFrame, str]]:
    """Ratios to chance: of every two masks over all leaves, and of every two tickets by leaf."""
    if shared.empty:
        return []
    said = "Weights that two masks share, over those that they would share by chance (independent "
    said += "masks that keep as many weights of each layer)"
    whole = shared[shared["leaf"] == ""]
    names = list(dict.fromkeys([*whole["one"], *whole["two"]]))
    ratios = {(line["one"], line["two"]): line["ratio"] for line in whole.to_dict("records")}
    every = pd.DataFrame([
        [one, *(f"{ratios[pair]:.3f}" if (pair := (one, two)) in ratios else "" for two in names)]
        for one in names[:-1]
    ], columns=["mask", *names])  # fmt: skip
    tables = [(every.drop(columns=names[0]), f"{said}.")]
    of_tickets = shared["one"].isin(tickets) & shared["two"].isin(tickets)
    part = shared[of_tickets & (shared["leaf"] != "")]
    if len(part):
        pairs = part["one"] + " and " + part["two"]
        layers = part.assign(pair=pairs.str.replace(f"{TICKET}_", ""), ratio=part["ratio"].map(
            lambda ratio: f"{ratio:.3f}"
        ))  # fmt: skip
        table = layers.pivot(index="leaf", columns="pair", values="ratio")
        table = table.loc[list(dict.fromkeys(layers["leaf"])), list(dict.fromkeys(layers["pair"]))]
        tables.append((table.reset_index(names="layer"), f"{said}, of tickets, by layer."))
    return tables
