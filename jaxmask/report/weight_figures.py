"""Plots of the weights that many runs keep at one density."""

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from jaxmask import signals
from jaxmask.report import canvas, one_density, ticket_weights, tickets

# fingerprint and shapes of initial weights -> all of them, flat
Known = dict[tuple[str, tuple[tuple[str, tuple[int, ...]], ...]], np.ndarray]


def weights(path: Path, runs: pd.DataFrame) -> bool:
    """Histograms of the kept weights after training, over all seeds, one panel per method."""
    kept: dict[str, list[np.ndarray]] = {}
    for name, folder in one_density.places(runs):
        values = kept_weights(folder)
        if values is not None and values.size:
            kept.setdefault(name, []).append(values)
    return _histograms(path, runs, kept, {}, "kept weight after training")


def initial_weights(path: Path, runs: pd.DataFrame) -> bool:
    """Histograms of the initial values of the kept weights; in gray, of all weights.

    Each is divided by the root mean square of its layer's initial weights.
    """
    kept: dict[str, list[np.ndarray]] = {}
    whole: dict[str, list[np.ndarray]] = {}
    known: Known = {}
    for name, folder in one_density.places(runs):
        found = scaled_initial(folder, known)
        if found is not None and found[0].size:
            kept.setdefault(name, []).append(found[0])
            whole.setdefault(name, []).append(found[1])
    label = "initial weight, in units of its layer's root mean square"
    return _histograms(path, runs, kept, whole, label)


def _histograms(
    path: Path,
    runs: pd.DataFrame,
    kept: Mapping[str, Sequence[np.ndarray]],
    behind: Mapping[str, Sequence[np.ndarray]],
    label: str,
) -> bool:
    """A panel per method, with all its networks' values in 61 bins; `behind` in gray."""
    if not kept:
        return False
    signals.obey()
    lists = (*kept.values(), *behind.values())
    every = list({id(each): each for values in lists for each in values}.values())
    limit = max(float(np.abs(values).max()) for values in every) or 1.0
    edges = np.linspace(-limit, limit, 62)  # 61 bins, one of them around 0
    columns = min(len(kept), 4)
    rows = -(-len(kept) // columns)
    figure = canvas.blank(max(2.2 * columns, 3.6), 0.7 + 1.7 * rows)
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
    counts = {id(each): np.histogram(each, edges)[0] for each in every}  # runs may share arrays
    for panel, (name, values) in zip(panels, kept.items()):
        for among, look in ((behind.get(name, ()), {"color": "0.85"}), (values, {})):
            if among:
                mean = np.mean([counts[id(each)] for each in among], axis=0)
                panel.stairs(mean, edges, fill=True, **look)
        panel.set_yscale("log")
        panel.set_title(textwrap.fill(name, 28), fontsize=7)
        panel.tick_params(which="both", labelsize=7)
        panel.grid(alpha=0.3)
        panel.spines[["top", "right"]].set_visible(False)
    for panel in panels[len(kept) :]:
        panel.set_visible(False)
    figure.supxlabel(label, fontsize=8)
    figure.supylabel("weights per bin and network", fontsize=8)
    figure.suptitle(one_density.title(runs), fontsize=9)
    canvas.save(figure, path)
    return True


def scaled_initial(folder: Path, known: Known) -> tuple[np.ndarray, np.ndarray] | None:
    """(kept, all) initial weights that a run may prune, in units of each layer's root mean square.

    None if it lacks the files. All weights of a seed are one array in `known`, as runs share them.

    Raises:
      InputError: a file is damaged, or is not this run's.
    """
    masks, told = tickets.masks(folder), ticket_weights.initial_file(folder)
    if masks is None or told is None:
        return None
    key = (told[1], tuple((path, bits.shape) for path, bits in masks.items()))
    if key not in known:
        initial = ticket_weights.load(*told)
        if not initial:
            return None
        tickets.check(masks, initial, told[0])
        leaves = [initial[path] / ticket_weights.rms(initial[path]) for path in masks]
        known[key] = ticket_weights.joined(leaves).astype(np.float32)
    bits = np.concatenate([np.zeros(0, bool), *(leaf.ravel() for leaf in masks.values())])
    return known[key][bits], known[key]


def kept_weights(folder: Path) -> np.ndarray | None:
    """The trained weights of a run that its mask keeps, flat; None if it lacks the files.

    Raises:
      InputError: a file is damaged, or the mask does not match these weights.
    """
    masks, place = tickets.masks(folder), folder / "weights.safetensors"
    trained = ticket_weights.load(place)
    if masks is None or not trained:
        return None
    tickets.check(masks, trained, place)
    kept = [np.asarray(trained[path][bits], np.float32) for path, bits in masks.items()]
    values = np.concatenate([np.zeros(0, np.float32), *kept])
    return values[np.isfinite(values)]  # of a run that diverged
