"""Figures of learned scores: what they are learned from, and how."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from jaxmask.report import canvas


def correlations(path: Path, names: Sequence[str], matrix: Sequence[Sequence[float]]) -> None:
    """Pearson's correlation of all pairs; none where a feature is constant."""
    side = 2.0 + 0.45 * len(names)
    figure, axes = canvas.new(side + 0.8, side)
    values = np.asarray(matrix, float)
    image = axes.imshow(values, cmap="RdBu_r", vmin=-1, vmax=1)
    figure.colorbar(image, ax=axes, shrink=0.8, label="correlation")
    shown = [canvas.shortened(name) for name in names]
    axes.set_xticks(range(len(names)), shown, rotation=90, fontsize=7)
    axes.set_yticks(range(len(names)), shown, fontsize=7)
    for (row, column), value in np.ndenumerate(values):
        if np.isfinite(value):
            color = "white" if abs(value) > 0.6 else "black"
            axes.text(
                column, row, f"{value:.2f}", ha="center", va="center", fontsize=6, color=color
            )
    axes.grid(visible=False)
    canvas.save(figure, path)


def histograms(path: Path, names: Sequence[str], columns: np.ndarray) -> None:
    """The values of each feature and of the target, in 60 bins; counts on a logarithmic axis."""
    figure, panels = canvas.panels(len(names), 3, 2.4, 1.9)
    for axes, name, column in zip(panels, names, columns):
        counts, edges = np.histogram(column, 60)
        axes.stairs(counts, edges, fill=True)
        axes.set_yscale("log")
        axes.set_title(canvas.shortened(name), fontsize=8)
        axes.tick_params(which="both", labelsize=7)
        canvas.opened(axes)
    figure.supylabel("weights per bin", fontsize=8)
    canvas.save(figure, path)


def curves(path: Path, found: Mapping[str, Sequence[Sequence[float]]]) -> None:
    """Mean squared errors of training (dashed) and validation rows against epochs."""
    if not found:
        return
    figure, axes = canvas.new(5.0, 3.6)
    for index, (name, curve) in enumerate(found.items()):
        epochs = range(1, len(curve) + 1)
        for column, (split, style) in enumerate((("train", "--"), ("validation", "-"))):
            values = [each[column] for each in curve]
            axes.plot(epochs, values, style, color=f"C{index}", label=f"{name} ({split})")
    axes.set_yscale("log")
    axes.set_xlabel("epoch")
    axes.set_ylabel("mean squared error")
    axes.legend(fontsize=8)
    canvas.save(figure, path)
