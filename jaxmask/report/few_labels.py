"""What networks do with few labels: the runs of `adapt` below a run of `self_mask`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from jaxmask import files
from jaxmask.report import adaptation, adaptation_figures, collect, find, groups, summary
from jaxmask.report.adaptation import SHARE, Adaptation

FOLDER = "labels"  # of a run: labels/SHARE/drawD/NETWORK is a run of adapt
NAME, FIGURE = "few_labels", "low_labels"
PROBE = "linear_probe"
# what the masks were learned from, where the columns are of the labels
_ABOUT_IMAGES = ("share", "validation", "mean", "std")


def runs_of(networks: pd.DataFrame) -> pd.DataFrame:
    """One row per classifier that was learned on few labels from these networks.

    Its `method` is `NETWORK + METHOD`, with the settings in which the networks differ, `seed` that
    of the draw, which all networks of a run share. Bytes and density are left out: they are not
    those of network and classifier together.

    Args:
      networks: of `adaptation.named`; others than those of `self_mask` have no such rows.
    """
    origin: dict[str, Mapping[str, Any]] = {}  # run of adapt -> its network
    for row in networks.to_dict("records"):
        folder = Path(row["folder"])
        for drawn in folder.parent.glob(f"{FOLDER}/*/draw*"):
            if (drawn / folder.name / "result.json").exists():
                origin[str(drawn / folder.name)] = row
    if not origin:
        return pd.DataFrame()
    ordered: list[str] = sorted(origin, key=find.natural)
    frame = collect.collect(ordered)
    places = [str(Path(folder).parent) for folder in frame["folder"]]
    of = [origin[place] for place in places]
    about = {
        SHARE: [find.read_config(Path(place))["data.share"] for place in places],
        "method": [f"{row['method']} + {own}" for row, own in zip(of, frame["method"])],
        "draw": [Path(place).parent.name.removeprefix("draw") for place in places],
    }
    for name in _ABOUT_IMAGES:
        if f"config.data.{name}" in networks:
            about[f"config.images.{name}"] = [row[f"config.data.{name}"] for row in of]
    # the start is the network; normalization is the network's, too
    gone = ("config.start", "config.data.mean", "config.data.std", *adaptation.MEANS)
    frame = frame.drop(columns=list(gone), errors="ignore").assign(**about)
    return adaptation.named(frame)


def make(frame: pd.DataFrame, baseline: str | None, metric: str, test: str) -> Adaptation | None:
    """The report on the runs of `runs_of`; None if there are none with this metric.

    Args:
      baseline: a row, or a network, which is its linear probe; others compare nothing.
    """
    if frame.empty or metric not in frame or frame[metric].isna().all():
        return None
    rows = set(frame["method"])
    known = [name for name in (baseline, f"{baseline} + {PROBE}") if name in rows]
    made = adaptation.make(frame, known[0] if known else None, metric, test)
    table = made.table.rename(columns={"seeds": "draws"})
    return made._replace(table=table, caption=_caption(made, test))


def write(
    folder: Path, networks: Sequence[str], labels: Mapping[float, int]
) -> list[dict[str, Any]]:
    """Writes `few_labels.csv`, `few_labels.md` and `figures/low_labels.png` into a run.

    Args:
      networks: run directories below it: the starting network, then those that learned. The
        others are tested against the probe of the first that learned, paired by draw.
      labels: how many labels each share is, with those held out.

    Returns:
      One row per share, network and method: accuracy, its mean and deviation over the draws.
    """
    named = pd.DataFrame({"method": list(networks), "folder": [str(folder / n) for n in networks]})
    frame = runs_of(named)
    made = make(frame, networks[1] if len(networks) > 1 else None, "accuracy", "paired")
    assert made is not None
    shares = frame[SHARE]
    parts = frame["method"].str.split(" + ", n=1, regex=False)
    rows = pd.DataFrame({
        "share": shares, "labels": shares.map(labels), "draw": frame["draw"].astype(int),
        "network": parts.str[0], "method": parts.str[1], "accuracy": frame["accuracy"],
        "validation_accuracy": frame["validation_accuracy"],
        "train_examples": frame["train_examples"], "seed": frame["seed"],
    })  # fmt: skip
    collect.write_table(rows, folder / f"{NAME}.csv")
    text = summary.markdown(made.table, made.caption, made.best)
    files.replace(folder / f"{NAME}.md", text)
    draw(folder / "figures" / f"{FIGURE}.png", made)
    keys = ["share", "labels", "network", "method"]
    found = rows.groupby(keys, sort=False)["accuracy"].agg(["mean", "std", "count"]).reset_index()
    found = found.rename(columns={"mean": "accuracy", "std": "deviation", "count": "draws"})
    return found.astype("object").where(found.notna(), None).to_dict("records")


def draw(path: Path, made: Adaptation | None) -> bool:
    """Accuracy against the fraction of labels; returns whether there are several fractions."""
    return made is not None and adaptation_figures.against_labels(
        path, made.groups, adaptation_figures.style_of(made)
    )


def _caption(made: Adaptation, test: str) -> str:
    compared, shares = made.groups, made.runs[SHARE].unique()
    said = (
        f"{summary.title(compared['metric'].iloc[0])} on few labels (network + what learned on "
        f"them): mean ± sample standard deviation over {summary.seeds(compared, 'draw')} of "
        "the labels; draws of a run share its networks and test images."
    )
    if SHARE not in groups.further(compared):
        said += f" Fraction of labels: {shares[0]:g}."
    if compared["baseline"].notna().any():
        said += summary.tested(compared, test, " on the same labels", "draws")
    return said
