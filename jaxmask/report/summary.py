"""The summary as a table to read: one row per method, one column per density."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import pandas as pd

from jaxmask.errors import InputError
from jaxmask.report import groups, published

UNKNOWN = "density unknown"
KINDS = {
    "welch": "Welch's t-test",
    "paired": "paired t-test over {pairs}",
}
SEEDS = "seeds with equal initial weights"


def pivot(
    summary: pd.DataFrame,
    test: str = "welch",
    beside: published.Published | None = None,
) -> pd.DataFrame:
    """One row per method and schedule, one column per target density (descending), text cells.

    A cell is the mean, with the sample standard deviation where there is more than one seed, and
    stars: `97.53 ± 0.12*`. An accuracy is in percent. Other parts of a setting (the dataset,
    say) have their own columns before the densities.

    Args:
      summary: of `significance.compare`.
      test: the one whose stars are shown, `welch` or `paired`.
      beside: of `published.read`, by the label of a row or by `groups.series`: its figure follows
        in parentheses, `97.53 ± 0.12* (97.4)`.

    Raises:
      InputError: published figures belong to a label that several rows have.
    """
    beside = beside or {}
    extras = groups.further(summary)
    table = summary.assign(label=groups.labels(summary))
    # numbers, as a setting with a missing value is not equal to itself
    table["row"] = table.groupby(["label", *extras], dropna=False, sort=False).ngroup()
    firsts = table.drop_duplicates("row")[["label", *extras]]
    names = groups.series(table.loc[firsts.index], extras)
    for name in beside:
        if name not in names and (firsts["label"] == name).sum() > 1:
            raise InputError(
                f"published figures need a single row, but {name!r} has several: they differ "
                f"in {', '.join(extras)}; name one as {names[0]!r}, or report on the runs of one"
            )
    densities = sorted(table["target_density"].dropna().unique(), reverse=True)
    titles = dict(zip(densities, heads(densities)))
    texts = [cell(line, test) for line in table.to_dict("records")]
    cells = dict(zip(zip(table["row"], table["target_density"].map(titles).fillna(UNKNOWN)), texts))
    columns = [*titles.values()] + [UNKNOWN] * bool(table["target_density"].isna().any())
    lines = []
    for row, first in enumerate(firsts.values.tolist()):
        line = {head: cells.get((row, head), "") for head in columns}
        named = names[row] if names[row] in beside else first[0]
        for density, head in titles.items():
            figure = published.at(beside, named, density)
            line[head] = f"{line[head]} ({figure})".strip() if figure else line[head]
        lines.append([*("" if pd.isna(value) else str(value) for value in first), *line.values()])
    return pd.DataFrame(lines, columns=["method", *groups.short(extras), *columns])


def caption(summary: pd.DataFrame, test: str = "welch", beside: bool = False) -> str:
    """What the cells of `pivot` are, in a sentence or two."""
    name = title(summary["metric"].iloc[0])
    said = f"{name} by target density: mean ± sample standard deviation over {seeds(summary)}."
    compared = summary["baseline"].dropna()
    if len(compared):
        same = "" if compared.iloc[0] == groups.DENSE else " at the same density"
        said += tested(summary, test, same, SEEDS)
    return said + (" In parentheses: published figures." if beside else "")


def title(metric: str) -> str:
    """The name of a metric, with its unit: `test accuracy in %`."""
    name = metric.replace("_", " ")
    # `accuracy` alone is the test split's
    names = {"accuracy": "test accuracy", "chosen_step": "steps to the chosen epoch"}
    return names.get(metric, name) + (" in %" if share(metric) else "")


def seeds(summary: pd.DataFrame, of: str = "seed") -> str:
    """How many seeds its settings have: `2 to 5 seeds`."""
    least, most = int(summary["count"].min()), int(summary["count"].max())
    return f"{most} {of}" + "s" * (most > 1) if least == most else f"{least} to {most} {of}s"


def tested(summary: pd.DataFrame, test: str, same: str, pairs: str) -> str:
    """What the stars of a summary with comparisons mean.

    Args:
      same: what is equal in a comparison, after "against BASELINE".
      pairs: what the paired test pairs.
    """
    baseline = summary["baseline"].dropna().iloc[0]
    count = int(summary[f"{test}_p"].notna().sum())
    kind = KINDS[test].format(pairs=pairs)
    return (
        f" * p < 0.05, ** p < 0.01, *** p < 0.001: {kind} against {baseline}{same}, "
        f"Holm-corrected over the {count} comparisons of this table."
    )


def markdown(table: pd.DataFrame, said: str = "", bold: Collection[tuple[int, int]] = ()) -> str:
    """The table as Markdown, with its caption below; the cells (row, column) in `bold` are bold."""
    cells = [
        [f"**{_escaped(text)}**" if (row, at) in bold else _escaped(text) for at, text in each]
        for row, each in enumerate(map(enumerate, table.values.tolist()))
    ]
    lines = [list(map(_escaped, table.columns)), ["---"] * len(table.columns), *cells]
    text = "".join("| " + " | ".join(line) + " |\n" for line in lines)
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


def cell(line: Mapping[str, Any], test: str) -> str:
    """A row of `significance.compare` in a cell: `97.53 ± 0.12*`."""
    factor, form = (100, ".2f") if share(line["metric"]) else (1, ".4g")
    text = f"{factor * line['mean']:{form}}"
    if line["count"] > 1:
        text += f" ± {factor * line['std']:{form}}"
    return text + line[f"{test}_stars"]


def heads(densities: Sequence[float]) -> list[str]:
    """Titles of columns of densities, all different."""
    short = [f"{density:g}" for density in densities]
    return short if len(set(short)) == len(short) else [f"{density:.9g}" for density in densities]


def _escaped(text: str) -> str:
    if set(text) == {"-"}:
        return text
    return text.replace("|", "\\|").replace("*", "\\*")
