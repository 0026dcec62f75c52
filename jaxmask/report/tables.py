"""The comparison of methods as a table, for a terminal or as Markdown."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from jaxmask.run.result import read

COLUMNS = {
    "method": "method",
    "accuracy": "test accuracy",
    "validation_accuracy": "validation accuracy",
    "density": "density",
    "trained_numbers": "trained numbers",
    "storage_bytes": "bytes to store",
    "seconds": "seconds",
}
KNN = "knn_accuracy"  # of runs that measure features in two ways: `accuracy` is a probe's
TITLES = {**COLUMNS, KNN: "by k-NN"}


def comparison(folder: Path, methods: Sequence[str]) -> pd.DataFrame:
    """One row per method, read from the `result.json` of its run directory below `folder`.

    Methods that are measured by k-NN, too, have a column for it.
    """
    results = [read(folder / method) for method in methods]
    table = pd.DataFrame([{name: getattr(result, name) for name in COLUMNS} for result in results])
    by_neighbors = [result.more.get(KNN) for result in results]
    if None not in by_neighbors and results:
        table.insert(2, KNN, by_neighbors)
    return table


def formatted(table: pd.DataFrame) -> pd.DataFrame:
    """The comparison for people: percent, thousands separators, column titles."""
    shown = pd.DataFrame()
    for name in map(str, table):
        title, column = TITLES[name], table[name]
        if "accuracy" in name:
            shown[title] = [f"{value:.2%}" for value in column]
        elif name == "density":
            shown[title] = [f"{value:.3f}" for value in column]
        elif name == "seconds":
            shown[title] = [f"{value:.1f}" for value in column]
        elif name != "method":
            shown[title] = [f"{value:,.0f}" for value in column]
        else:
            shown[title] = list(column)
    return shown


def markdown(table: pd.DataFrame) -> str:
    """The comparison as a Markdown table."""
    shown = formatted(table)
    lines = [list(shown.columns), ["---"] * len(shown.columns), *shown.values.tolist()]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)
