"""Which weights tickets share: Jaccard's index beside that of chance, by criterion and schedule.

Chance is that of independent masks which keep as many weights of each leaf: of a leaf with n
weights, masks that keep a and b share `ab / n` and keep `a + b - ab / n` together, in expectation;
both are summed over the leaves, then divided.
"""

import functools
import itertools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from jaxmask.maskfile import compare
from jaxmask.report import groups, schedules, summary

CRITERIA, SCHEDULES, ALL = "two criteria", "two schedules", "all criteria"
TITLES = {
    CRITERIA: "two criteria: mean over pairs",
    ALL: "all criteria at once",
    SCHEDULES: "two schedules of a criterion: mean over pairs",
}
RANDOM = "random"  # shares what chance does
LISTED = 40  # pairs of a kind, above which the table has their mean alone
VALUES = ["jaccard", "chance", "beyond"]
COLUMNS = ["target_density", "seed", "kind", "context", "names", "one", "two", "informed", *VALUES]


class Ticket(NamedTuple):
    """A run's mask.

    Attributes:
      series, method, schedule, context: of its setting; see `groups`, `schedules.contexts`.
      name: the series without its context.
      own: whether its schedule is its criterion's own.
      initial: the fingerprint of the initial weights, or None.
      masks: bool arrays by path.
    """

    series: str
    method: str
    schedule: str
    context: str
    name: str
    own: bool
    initial: str | None
    masks: Mapping[str, np.ndarray]


def pairs(tickets: Sequence[Ticket]) -> list[dict[str, Any]]:
    """The overlap of each two tickets of one seed over equal leaves, and that of all criteria.

    Returns:
      Rows with `kind`, `context`, `names` (of the tickets), `one` and `two` (series), `informed`
      (neither is random), `jaccard`, `chance`, and `beyond`, the first less the second. Kinds,
      among tickets of one context and the same initial weights: `two criteria` in their own
      schedules; `two schedules` of one criterion; and, of three criteria or more without
      `random`, `all criteria`: weights that all keep, as a share of those that any keeps (`one`
      and `two` are ""). All other pairs have the kind "".
    """
    rows = []
    by_shapes: dict[Any, list[Ticket]] = {}
    for each in tickets:
        shapes = tuple((path, leaf.shape) for path, leaf in each.masks.items())
        by_shapes.setdefault(shapes, []).append(each)
    for alike in by_shapes.values():
        leaves = [compare.counted([each.masks[path] for each in alike]) for path in alike[0].masks]
        counts = compare.Counts(*(np.sum(parts, axis=0) for parts in zip(*leaves)))
        jaccard, chance, _ = counts.shares()
        for a, b in itertools.combinations(range(len(alike)), 2):
            one, two = alike[a], alike[b]
            context = one.context if one.context == two.context else ""
            about = {"context": context, "names": f"{one.name} and {two.name}",
                     "one": one.series, "two": two.series,
                     "informed": _informed(one) and _informed(two)}  # fmt: skip
            rows.append(_row(_kind(one, two), about, jaccard[a, b], chance[a, b]))
        rows += _of_all(alike)
    return rows


def matrix(found: pd.DataFrame, column: str) -> pd.DataFrame:
    """The mean over seeds for every two series, which are its rows and columns; NaN for no seed.

    Args:
      found: rows of `pairs` at one density.
      column: `jaccard`, with 1 on the diagonal, or `chance` or `beyond`, with NaN there.
    """
    found = found[found["kind"] != ALL]
    names = list(dict.fromkeys([*found["one"], *found["two"]]))
    table = pd.DataFrame(np.nan, names, names)
    for (one, two), mean in found.groupby(["one", "two"], sort=False)[column].mean().items():
        table.loc[one, two] = table.loc[two, one] = mean
    if column == "jaccard":
        table = table.mask(np.eye(len(names), dtype=bool), 1.0)
    return table


def summarized(found: pd.DataFrame) -> pd.DataFrame:
    """Means over seeds at each density: of every pair, and of the mean over all pairs of a kind.

    Pairs with `random` are not part of a mean over pairs.

    Args:
      found: rows of `pairs`.

    Returns:
      Columns `kind`, `context`, `name` ("" for the mean over pairs), `target_density`, `count` (of
      seeds), and `jaccard`, `chance`, `beyond` with `..._std`.
    """
    found = found[found["kind"] != ""].rename(columns={"names": "name"})
    where = ["kind", "context", "name", "target_density"]
    by_seed = [*where, "seed"]
    informed = found[(found["kind"] != ALL) & found["informed"]].assign(name="")
    means = informed.groupby(by_seed, sort=False)[VALUES].mean().reset_index()
    table = pd.concat([means, found[[*by_seed, *VALUES]]], ignore_index=True)
    grouped = table.groupby(where, sort=False)[VALUES]
    summed = grouped.mean().join(grouped.std().add_suffix("_std"))
    return summed.assign(count=grouped.size()).reset_index()


def tables(found: pd.DataFrame) -> list[tuple[pd.DataFrame, str]]:
    """`summarized` to read, with its caption: rows by kind, a column per density; none if empty."""
    table = summarized(found) if len(found) else found
    if table.empty:
        return []
    densities = sorted(table["target_density"].unique(), reverse=True)
    lines = []
    for kind in TITLES:
        part = table[table["kind"] == kind]
        alone = kind != ALL and part["name"].nunique() > LISTED
        for (context, name), line in part.groupby(["context", "name"], sort=False):
            if alone and name:
                continue
            cells = dict(zip(line["target_density"], map(_cell, line.to_dict("records"))))
            row = [_label(kind, name), context]
            lines.append([*row, *(cells.get(density, "") for density in densities)])
    if not lines:
        return []
    shown = pd.DataFrame(lines, columns=["tickets", "setting", *summary.heads(densities)])
    if (shown["setting"] == "").all():
        shown = shown.drop(columns="setting")
    hidden = any(part["name"].nunique() > LISTED for kind, part in table.groupby("kind")
                 if kind != ALL)  # fmt: skip
    return [(shown, _caption(table) + " Single pairs are in overlap.csv." * hidden)]


def _label(kind: str, name: str) -> str:
    if name and kind != ALL:
        return f"{kind}: {name}"
    return f"{TITLES[kind]} ({name})" if name else TITLES[kind]


def _caption(table: pd.DataFrame) -> str:
    return (
        "Jaccard's index of tickets of one seed and the same initial weights, by target density; "
        "after it, what it exceeds that of chance by (independent masks that keep as many weights "
        f"of each layer): mean ± sample standard deviation over {summary.seeds(table)}. Criteria "
        "are compared in their own schedules (magnitude: ISS, synflow: UMS, others: USS; if there "
        "are no such runs, the first there is). All at once: what all keep, as a share of what any "
        "keeps. Means are without random."
    )


def _cell(line: dict[str, Any]) -> str:
    text = f"{line['jaccard']:.3f}, {line['beyond']:+.3f}"
    return text + (f" ± {line['beyond_std']:.3f}" if line["count"] > 1 else "")


def _row(kind: str, about: Mapping[str, Any], jaccard: float, chance: float) -> dict[str, Any]:
    values = dict(zip(VALUES, map(float, (jaccard, chance, jaccard - chance))))
    return {"kind": kind, **about, **values}


def _informed(ticket: Ticket) -> bool:
    return ticket.method.split("(")[0] != RANDOM


def _kind(one: Ticket, two: Ticket) -> str:
    if one.context != two.context or one.initial is None or one.initial != two.initial:
        return ""
    if one.method != two.method:
        return CRITERIA if one.own and two.own else ""
    return SCHEDULES if one.schedule != two.schedule else ""


def _of_all(tickets: Sequence[Ticket]) -> list[dict[str, Any]]:
    """The row of `ALL` of each context and initial weights: one ticket of each criterion."""
    chosen: dict[tuple[str, str], dict[str, Ticket]] = {}
    for each in tickets:
        if each.own and each.initial is not None and _informed(each):
            chosen.setdefault((each.context, each.initial), {}).setdefault(each.method, each)
    rows = []
    for (context, _), by_method in chosen.items():
        if len(by_method) < 3:
            continue
        among = list(by_method.values())
        numbers = np.zeros(4)
        for path in among[0].masks:
            leaves = [each.masks[path] for each in among]
            size = max(leaves[0].size, 1)
            shares = np.array([leaf.sum() / size for leaf in leaves])
            every = functools.reduce(np.logical_and, leaves).sum()
            some = functools.reduce(np.logical_or, leaves).sum()
            numbers += every, some, size * shares.prod(), size * (1 - (1 - shares).prod())
        both, either, by_chance, either_by_chance = numbers
        if either:
            about = {"context": context, "names": ", ".join(each.name for each in among),
                     "one": "", "two": "", "informed": True}  # fmt: skip
            rows.append(_row(ALL, about, both / either, by_chance / either_by_chance))
    return rows


def placed(runs: pd.DataFrame, keys: Sequence[str]) -> pd.DataFrame:
    """The runs with the columns `context`, `name` and `own` of `Ticket`.

    Args:
      runs, keys: of `groups.settings`.
    """
    own = np.array(schedules.of_each(runs, keys)) == runs["schedule"].to_numpy()
    short = groups.series(runs, [name for name in keys if name in schedules.FIELDS])
    return runs.assign(context=schedules.contexts(runs, keys), name=short, own=own)


def ticket(run: Mapping[str, Any], masks: Mapping[str, np.ndarray]) -> Ticket:
    """The ticket of a row of `placed`."""
    initial = run["initial_sha256"]
    fields = {
        name: run[name] for name in ("series", "method", "schedule", "context", "name", "own")
    }
    return Ticket(**fields, initial=None if pd.isna(initial) else initial, masks=masks)
