"""Draws the picture of the README: a mask for each task over one network, and what that costs.

    for seed in 0 1 2 3 4; do
      jaxmask run --config=digits --config.seed=$seed --workdir=runs/digits-$seed
    done
    python docs/picture.py runs/digits-*

The figures are the means of these runs; weights and masks are drawn at random.
"""

import json
import sys
from pathlib import Path

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt
import numpy as np

OUT = Path(__file__).parent / "_static" / "masks.svg"
METHODS = {
    "full": "fine-tuned copy of the network",
    "mask": "mask and head",
    "linear_probe": "new head alone",
}
TASKS = ("task A", "task B", "task C")
BLUE, GRAY, INK, OFF = "#1f5fa8", "#66717d", "#1b1f24", "#3c4248"
# text stays text: small, and any reader's own font
STYLE = {"svg.fonttype": "none", "svg.hashsalt": "jaxmask", "font.size": 10, "text.color": INK,
         "font.sans-serif": ["Helvetica", "Arial", "DejaVu Sans"]}  # fmt: skip


def means(folders: list[Path]) -> dict[str, tuple[float, float]]:
    """Test accuracy in % and bytes to store, by method: means over finished runs."""
    results = [json.loads((folder / "result.json").read_text())["methods"] for folder in folders]
    return {
        name: (
            100 * float(np.mean([each[name]["accuracy"] for each in results])),
            float(np.mean([each[name]["storage_bytes"] for each in results])),
        )
        for name in METHODS
    }


def draw(measured: dict[str, tuple[float, float]], out: Path = OUT) -> None:
    """Writes the picture, on a white ground: a reader's page may be dark."""
    with plt.rc_context(STYLE):
        figure = plt.figure(figsize=(8.4, 3.3), facecolor="white")
        idea(figure)
        cost(figure.add_axes((0.64, 0.1, 0.335, 0.74)), measured)
        figure.text(
            0.02, 0.92, "One frozen network, one bit per weight for each task", weight="bold"
        )
        figure.text(0.64, 0.92, "What a task costs (digits)", weight="bold")
        figure.savefig(out, metadata={"Date": None, "Creator": None})
        plt.close(figure)


def idea(figure: plt.Figure) -> None:
    """Weights times each mask, a row a task."""
    random = np.random.default_rng(3)
    weights = random.normal(size=(8, 8))
    grid(figure, (0.02, 0.3, 0.34), weights, "frozen weights")
    for row, task in enumerate(TASKS):
        bits = random.random((8, 8)) < 0.75
        bottom = 0.66 - 0.29 * row
        sign(figure, 0.18, bottom, "\u00d7")
        grid(figure, (0.21, bottom, 0.21), np.where(bits, 0, np.nan), f"mask {task[-1]}")
        sign(figure, 0.33, bottom, "=")
        grid(figure, (0.36, bottom, 0.21), np.where(bits, weights, np.nan), "")
        figure.text(0.455, bottom + 0.105, f"network\nfor {task}", va="center")


def grid(
    figure: plt.Figure, place: tuple[float, float, float], values: np.ndarray, name: str
) -> None:
    left, bottom, height = place
    axes = figure.add_axes((left, bottom, height * 3.3 / 8.4, height))
    colors = plt.get_cmap("RdBu").with_extremes(bad=OFF)
    axes.imshow(values, interpolation="nearest", cmap=colors, vmin=-2.5, vmax=2.5)
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_color(GRAY)
    axes.set_xlabel(name, labelpad=2)


def sign(figure: plt.Figure, left: float, bottom: float, text: str) -> None:
    figure.text(left, bottom + 0.105, text, size=15, ha="center", va="center")


def cost(axes: plt.Axes, measured: dict[str, tuple[float, float]]) -> None:
    """A bar for each method, as long as its bytes."""
    for row, (name, text) in enumerate(METHODS.items()):
        accuracy, size = measured[name]
        axes.barh(-row, size, height=0.34, color=BLUE if name == "mask" else GRAY)
        axes.text(0, 0.28 - row, f"{text}: {accuracy:.2f} %", va="bottom")
        inside = size > max(each for _, each in measured.values()) / 2
        axes.annotate(
            f"{size:,.0f} bytes", (size, -row), (-6 if inside else 6, 0), va="center",
            textcoords="offset points", ha="right" if inside else "left",
            color="white" if inside else INK,
        )  # fmt: skip
    axes.set_ylim(-2.4, 0.75)
    axes.axis("off")


if __name__ == "__main__":
    draw(means([Path(each) for each in sys.argv[1:]]))
