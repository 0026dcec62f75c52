"""Training loss by epoch, of many settings."""

import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from jaxmask.report import canvas, find, groups
from jaxmask.report.adaptation import TUNED, tasks_of
from jaxmask.run.result import read
from jaxmask.train.records import read_records

MOST = 12  # lines in a panel, which a reader can tell apart


def draw(path: Path, runs: pd.DataFrame) -> bool:
    """Training loss by epoch, mean over seeds: one line per setting.

    One panel per task and loss function (`swav`, say; that of `adapt` is cross-entropy), of those
    with at least two settings and at most `MOST`.

    Args:
      path: of the PNG file.
      runs: of `adaptation.named`.

    Returns:
      Whether there was anything to draw.
    """
    table = losses(runs)
    lines = table.groupby("panel")["series"].transform("nunique")
    panels = list(table[lines.between(2, MOST)].groupby("panel", sort=False))
    if not panels:
        return False
    figure, all_axes = canvas.panels(len(panels), 1, 8.0, 3.8)
    for axes, (title, shown) in zip(all_axes, panels):
        canvas.opened(axes)
        lines = list(shown.groupby("series", sort=False))
        # a line that covers another is thinner or dashed, so that equal ones are both seen
        for place, (width, (name, line)) in enumerate(zip(np.linspace(3, 1.2, len(lines)), lines)):
            axes.plot(line["epoch"], line["loss"], color=f"C{place % 10}", linewidth=width,
                      linestyle=("-", "--", ":", "-.")[place % 4],
                      label=textwrap.fill(name, 50))  # fmt: skip
        if shown["loss"].min() > 0 and shown["loss"].max() > 20 * shown["loss"].min():
            axes.set_yscale("log")
        axes.set_title(title, fontsize=9)
        axes.set_xlabel("epoch")
        axes.set_ylabel("training loss")
        canvas.legend(axes)
    canvas.save(figure, path)
    return True


def losses(runs: pd.DataFrame) -> pd.DataFrame:
    """Mean training loss of each setting, up to the last epoch that all of its runs recorded.

    Columns: `panel`, the task and the loss function; `series`, the method with its setting;
    `epoch`, `loss`.

    Args:
      runs: of `adaptation.named`.
    """
    settled, _ = groups.settings(runs)
    rows: list[tuple[Any, ...]] = []
    for run, task in zip(settled.to_dict("records"), tasks_of(runs)):
        folder = Path(run["folder"])
        panel = ": ".join(filter(None, (task, _function(folder))))
        rows += [
            (panel, run["method"], str(folder), epoch, loss) for epoch, loss in recorded(folder)
        ]
    table = pd.DataFrame(rows, columns=["panel", "series", "folder", "epoch", "loss"])
    setting = table.groupby(["panel", "series"])["folder"]
    found = table.groupby(["panel", "series", "epoch"], sort=False, as_index=False)
    means = found.agg(loss=("loss", "mean"), count=("folder", "nunique"))
    of_all = means.set_index(["panel", "series"]).index.map(setting.nunique())
    return means[means["count"] == of_all].drop(columns="count")


def recorded(folder: Path) -> list[tuple[int, float]]:
    """(epoch, training loss) of a method's run directory, or of the value that it chose."""
    rows = _of(folder)
    if rows:
        return rows
    more = read(folder).more
    chosen = next((name for name in TUNED if more.get(name) is not None), None)
    return _of(folder / "choices" / f"{chosen}_{more[chosen]!r}") if chosen else []


def _of(folder: Path) -> list[tuple[int, float]]:
    return [
        (row["epoch"], row["loss"])
        for row in read_records(folder)
        if row["split"] == "train" and row["epoch"] and row.get("loss") is not None
    ]


def _function(folder: Path) -> str:
    """The name of the loss that a run minimizes."""
    name = find.read_config(folder).get("loss")
    return name.partition("(")[0] if isinstance(name, str) else "cross-entropy"
