"""Density by layer of masks learned without labels, against those learned with labels."""

from pathlib import Path
from typing import Any

import pandas as pd

from jaxmask.report import canvas, find, methods
from jaxmask.run.result import Result, read

WITHOUT, WITH = "self-supervised", "supervised"
# recipe and method -> how its mask was learned
KINDS = {
    ("self_mask", "mask"): WITHOUT,
    ("cascade", "dispatcher"): WITHOUT,
    ("adapt", "mask"): WITH,
}
MOST = 8  # lines


def draw(path: Path, runs: pd.DataFrame) -> bool:
    """Density by layer: mean over datasets, with bars of one standard deviation.

    One line for each setting, mostly one of either kind; only over datasets that both kinds have.

    Args:
      path: of the PNG file.
      runs: of `adaptation.named`.

    Returns:
      Whether there was anything to draw.
    """
    table = densities(runs)
    lines = list(table.groupby(["kind", "method"], sort=False))
    if not 2 <= len(lines) <= MOST:
        return False
    leaves = list(dict.fromkeys(table["leaf"]))
    figure, axes = canvas.new(4.5 + min(0.22 * len(leaves), 9.0), 4.4)
    several = table.groupby("kind")["method"].transform("nunique").max() > 1
    for place, ((kind, method), line) in enumerate(lines):
        name = f"{kind}: {method}" if several else kind
        count = int(line["datasets"].iloc[0])
        shift = 0.12 * (place - (len(lines) - 1) / 2)
        axes.errorbar(
            [leaves.index(leaf) + shift for leaf in line["leaf"]], line["mean"],
            line["std"].fillna(0), label=f"{name}, {count} dataset{'s' * (count > 1)}",
            color=f"C{place}", marker="os"[kind == WITH], linestyle=("-", "--")[kind == WITH],
            markersize=4, linewidth=1.3, elinewidth=0.8, capsize=2,
        )  # fmt: skip
    canvas.leaf_axis(axes, leaves)
    axes.set_ylim(0, 1.02)
    axes.set_ylabel("density of the layer")
    axes.set_title("mean and standard deviation over datasets", fontsize=9)
    axes.legend(fontsize=8, frameon=False, loc="best")
    canvas.save(figure, path)
    return True


def densities(runs: pd.DataFrame) -> pd.DataFrame:
    """Density of each leaf, of both kinds of masks over the leaves of one network.

    Runs count that mask all of what their rules say, learned from all images: no share of the
    scores or of the labels. Of several networks, the one with the most datasets that both kinds
    have. A dataset is its name and its classes.

    Columns: `kind`, `method`; `leaf`, input first; `mean`, `std` over datasets (of means over
    runs), `datasets`, how many; no rows if no dataset has both kinds.

    Args:
      runs: of `adaptation.named`.
    """
    rows: list[dict[str, Any]] = []
    for run in runs.to_dict("records"):
        folder = Path(run["folder"])
        found, config = read(folder), find.read_config(folder)
        kind = KINDS.get((found.recipe, found.method))
        by_mask = methods.section_of(config, found.method) == "mask"
        if kind is None or not by_mask or not found.density_by_leaf or _part_only(config):
            continue
        about = {
            "kind": kind, "method": run["method"], "network": _network(found, config),
            "dataset": (found.dataset, config.get("data.classes")),
        }  # fmt: skip
        rows += [{**about, "leaf": leaf, "density": density}
                 for leaf, density in found.density_by_leaf.items()]  # fmt: skip
    table = _of_one_network(pd.DataFrame(rows)) if rows else pd.DataFrame()
    if table.empty:
        return pd.DataFrame(columns=["kind", "method", "leaf", "mean", "std", "datasets"])
    keys = ["kind", "method", "leaf"]
    table["leaf"] = pd.Categorical(table["leaf"], sorted(set(table["leaf"]), key=find.natural))
    each = table.groupby([*keys, "dataset"], observed=True)["density"].mean()
    over = each.groupby(keys, observed=True).agg(["mean", "std", "count"]).reset_index()
    return over.rename(columns={"count": "datasets"}).astype({"leaf": str})


def _of_one_network(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of the network, and of its datasets, that both kinds of masks have most of."""
    best = table.iloc[:0]
    count = 0
    for _, part in table.groupby("network", sort=False):
        both = [set(part["dataset"][part["kind"] == kind]) for kind in (WITHOUT, WITH)]
        common = both[0] & both[1]
        if len(common) > count:
            best, count = part[part["dataset"].isin(common)].copy(), len(common)
    return best


def _part_only(config: dict[str, Any]) -> bool:
    return config.get("mask.trainable_share", 1.0) < 1 or config.get("data.share", 1.0) < 1


def _network(found: Result, config: dict[str, Any]) -> tuple[Any, ...]:
    """What two networks with the same masked leaves agree in."""
    own = tuple(value for name, value in config.items() if name.startswith("network."))
    return (found.network, own, tuple(sorted(found.density_by_leaf)))
