"""Plots of finished runs, drawn from the files in their directories."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxmask.report import canvas
from jaxmask.run.result import Result, read
from jaxmask.train.records import read_records


def comparison(folder: Path, methods: Sequence[str]) -> None:
    """Draws `figures/*.png` of a comparison: accuracy against bytes, loss, density by layer."""
    results = {name: read(folder / name) for name in methods}
    accuracy_against_bytes(folder / "figures" / "accuracy_against_bytes.png", results)
    loss_curves(
        folder / "figures" / "loss.png", {name: read_records(folder / name) for name in methods}
    )
    for name, result in results.items():
        if result.density_by_leaf:
            path = folder / "figures" / f"density_{name}.png"
            density_by_layer(path, result.density_by_leaf)


def method(folder: Path, name: str, density_by_leaf: Mapping[str, float]) -> None:
    """Draws `figures/*.png` of one training run: its loss, and the density of masked layers."""
    loss_curves(folder / "figures" / "loss.png", {name: read_records(folder)})
    if density_by_leaf:
        density_by_layer(folder / "figures" / "density_by_layer.png", density_by_leaf)


def accuracy_against_bytes(path: Path, results: dict[str, Result]) -> None:
    """Test accuracy against the bytes to store besides the base network, one point per method."""
    figure, axes = canvas.new(5.0, 3.6)
    for index, (method, result) in enumerate(results.items()):
        at = result.storage_bytes, 100 * (result.accuracy or 0.0)
        axes.scatter(*at, s=60, color=f"C{index}", zorder=3)
        axes.annotate(method, at, xytext=(7, -3), textcoords="offset points")
    axes.set_xscale("log")
    axes.margins(x=0.25, y=0.15)
    axes.set_xlabel("bytes to store besides the base network")
    axes.set_ylabel("test accuracy (%)")
    canvas.save(figure, path)


def loss_curves(path: Path, records: dict[str, list[dict[str, Any]]]) -> None:
    """Training (dashed) and validation loss against epochs, of all runs with epochs."""
    figure, axes = canvas.new(5.0, 3.6)
    drawn = False
    for index, (name, rows) in enumerate(records.items()):
        for split, style in (("train", "--"), ("validation", "-")):
            points = [
                (row["epoch"], row["loss"])
                for row in rows
                if row["split"] == split and row["epoch"] and row["loss"] is not None
            ]
            if points:
                label = f"{name} ({split})"
                axes.plot(*zip(*points), style, color=f"C{index}", label=label)
                drawn = True
    if not drawn:
        return
    axes.set_yscale("log")
    axes.set_xlabel("epoch")
    axes.set_ylabel("loss (nats)")
    axes.legend(fontsize=8)
    canvas.save(figure, path)


def density_by_layer(path: Path, density: Mapping[str, float]) -> None:
    """Fraction of weights kept in each masked leaf, input at the top."""
    figure, axes = canvas.new(5.0, 0.6 + 0.22 * max(len(density), 4))
    axes.barh(list(density), list(density.values()), color="C0")
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.set_xlabel("density")
    axes.tick_params(axis="y", labelsize=7)
    canvas.save(figure, path)


def confusion(path: Path, counts: Any, classes: Sequence[str]) -> None:
    """The confusion matrix as fractions; rows are the true classes."""
    shares = counts / counts.sum(axis=1, keepdims=True).clip(min=1)
    side = 2.0 + 0.16 * min(len(classes), 60)
    figure, axes = canvas.new(side + 0.6, side)
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, ax=axes, shrink=0.8, label="fraction of the true class")
    if len(classes) <= 60:
        axes.set_xticks(range(len(classes)), classes, rotation=90, fontsize=7)
        axes.set_yticks(range(len(classes)), classes, fontsize=7)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    canvas.save(figure, path)
