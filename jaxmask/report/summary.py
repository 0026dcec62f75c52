"""The summary as a table to read: a row a method, a column a density."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from jaxmask.errors import InputError
from jaxmask.report import groups, published

UNKNOWN = "density unknown"
KINDS = {
    "welch": "Welch's t-test",
    "paired": "paired t-test over seeds of equal initial weights",
}


def pivot(
    summary: pd.DataFrame,
    test: str = "welch",
    beside: published.Published | None = None,
) -> pd.DataFrame:
    """A row a method and schedule, a column a target density (descending), cells of text.

    A cell is the mean, with the sample standard deviation where there is more than one seed, and
    stars: `97.53 ± 0.12*`. An accuracy is in percent. What else makes a setting (the dataset,
    say) has columns of its own before the densities.

    Args:
      summary: of `significance.compare`.
      test: whose stars are shown, `welch` or `paired`.
      beside: of `published.read`: its figure follows in brackets, `97.53 ± 0.12* (97.4)`.

    Raises:
      InputError: published figures belong to a label that several rows have.
    """
    beside = beside or {}
    extras = groups.further(summary)
    table = summary.assign(label=groups.labels(summary))
    # numbers, for a setting with a missing value is not equal to itself
    table["row"] = table.groupby(["label", *extras], dropna=False, sort=False).ngroup()
    firsts = table.drop_duplicates("row")[["label", *extras]]
    for name in beside:
        if (firsts["label"] == name).sum() > 1:
            raise InputError(
                f"published figures stand beside one row, and {name!r} has several: they differ "
                f"in {', '.join(extras)}; report on the runs of one"
            )
    densities = sorted(table["target_density"].dropna().unique(), reverse=True)
    heads = dict(zip(densities, _heads(densities)))
    texts = [_cell(line, test) for line in table.to_dict("records")]
    cells = dict(zip(zip(table["row"], table["target_density"].map(heads).fillna(UNKNOWN)), texts))
    columns = [*heads.values()] + [UNKNOWN] * bool(table["target_density"].isna().any())
    lines = []
    for row, first in enumerate(firsts.values.tolist()):
        line = {head: cells.get((row, head), "") for head in columns}
        for density, head in heads.items():
            figure = published.at(beside, first[0], density)
            line[head] = f"{line[head]} ({figure})".strip() if figure else line[head]
        lines.append([*("" if pd.isna(value) else str(value) for value in first), *line.values()])
    return pd.DataFrame(lines, columns=["method", *groups.short(extras), *columns])


def caption(summary: pd.DataFrame, test: str = "welch", beside: bool = False) -> str:
    """What the cells of `pivot` are, in a sentence or two."""
    metric = summary["metric"].iloc[0]
    least, most = int(summary["count"].min()), int(summary["count"].max())
    seeds = f"{most} seed" + "s" * (most > 1) if least == most else f"{least} to {most} seeds"
    name = metric.replace("_", " ")
    # `accuracy` alone is the test split's
    name = {"accuracy": "test accuracy"}.get(metric, name) + (" in %" if share(metric) else "")
    said = f"{name} by target density: mean ± sample standard deviation over {seeds}."
    compared = summary["baseline"].dropna()
    if len(compared):
        kind = KINDS[test]
        same = "" if compared.iloc[0] == groups.DENSE else " at the same density"
        count = int(summary[f"{test}_p"].notna().sum())
        said += (
            f" * p < 0.05, ** p < 0.01, *** p < 0.001: {kind} against {compared.iloc[0]}{same}, "
            f"Holm-corrected over the {count} comparisons of this table."
        )
    return said + (" In brackets: published figures." if beside else "")


def markdown(table: pd.DataFrame, said: str = "") -> str:
    """The table as Markdown, with its caption below."""
    lines = [list(table.columns), ["---"] * len(table.columns), *table.values.tolist()]
    text = "".join("| " + " | ".join(map(_escaped, line)) + " |\n" for line in lines)
    return text + (f"\n{_escaped(said)}\n" if said else "")


def terminal(table: pd.DataFrame, said: str = "") -> Any:
    """The table for `rich.console.Console.print`, with its caption below."""
    from rich.table import Table
    from rich.text import Text

    # Text, for in a plain str rich reads [brackets] as its own
    shown = Table(caption=Text(said) if said else None, caption_justify="left")
    for index, column in enumerate(table.columns):
        shown.add_column(Text(column), justify="right" if index else "left", no_wrap=not index)
    for row in table.values.tolist():
        shown.add_row(*map(Text, row))
    return shown


def share(metric: str) -> bool:
    """Whether the metric is a share of 1 that is shown in percent."""
    return "accuracy" in metric


def _cell(line: Mapping[str, Any], test: str) -> str:
    factor, form = (100, ".2f") if share(line["metric"]) else (1, ".4g")
    text = f"{factor * line['mean']:{form}}"
    if line["count"] > 1:
        text += f" ± {factor * line['std']:{form}}"
    return text + line[f"{test}_stars"]


def _heads(densities: Sequence[float]) -> list[str]:
    short = [f"{density:g}" for density in densities]
    return short if len(set(short)) == len(short) else [f"{density:.9g}" for density in densities]


def _escaped(text: str) -> str:
    if set(text) == {"-"}:
        return text
    return text.replace("|", "\\|").replace("*", "\\*")
