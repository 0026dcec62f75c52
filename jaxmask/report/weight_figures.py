"""Plots of the weights that many runs keep at one density."""

import textwrap
from pathlib import Path

import numpy as np
import pandas as pd

from jaxmask import mask
from jaxmask.errors import InputError
from jaxmask.report import canvas, one_density
from jaxmask.tree import named_leaves


def weights(path: Path, runs: pd.DataFrame) -> bool:
    """Histograms of the kept weights after training, over all seeds, one panel per method."""
    kept: dict[str, list[np.ndarray]] = {}
    for name, folder in one_density.places(runs):
        values = kept_weights(folder)
        if values is not None and values.size:
            kept.setdefault(name, []).append(values)
    if not kept:
        return False
    pooled = {name: np.concatenate(values) for name, values in kept.items()}
    limit = max(float(np.abs(values).max()) for values in pooled.values()) or 1.0
    edges = np.linspace(-limit, limit, 62)  # 61 bins, one of them around 0
    columns = min(len(pooled), 4)
    rows = -(-len(pooled) // columns)
    figure = canvas.blank(max(2.2 * columns, 3.6), 0.7 + 1.7 * rows)
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
    for panel, (name, values) in zip(panels, pooled.items()):
        counts = np.histogram(values, edges)[0] / len(kept[name])
        panel.stairs(counts, edges, fill=True)
        panel.set_yscale("log")
        panel.set_title(textwrap.fill(name, 28), fontsize=7)
        panel.tick_params(which="both", labelsize=7)
        panel.grid(alpha=0.3)
        panel.spines[["top", "right"]].set_visible(False)
    for panel in panels[len(pooled) :]:
        panel.set_visible(False)
    figure.supxlabel("kept weight after training", fontsize=8)
    figure.supylabel("weights per bin and network", fontsize=8)
    figure.suptitle(one_density.title(runs), fontsize=9)
    canvas.save(figure, path)
    return True


def kept_weights(folder: Path) -> np.ndarray | None:
    """The trained weights of a run that its mask keeps, flat; None if it lacks the files.

    Raises:
      InputError: a file is damaged, or the mask does not match these weights.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    place = folder / "weights.safetensors"
    if not place.exists() or not one_density.mask_file(folder).exists():
        return None
    masks = named_leaves(mask.file.load(one_density.mask_file(folder)))
    try:
        arrays = load_file(place)
    except (SafetensorError, OSError, ValueError, LookupError) as error:
        raise InputError(f"{place} is not a safetensors file ({error}); delete the run") from None
    kept = [np.zeros(0, np.float32)]
    for name, leaf in masks.items():
        array = arrays.get(f"params/{name}")
        if array is None or array.shape != leaf.shape:
            raise InputError(f"{place} has no weights for the mask's {name!r}; delete the run")
        kept.append(np.asarray(array[leaf > 0], np.float32))
    values = np.concatenate(kept)
    return values[np.isfinite(values)]  # of a run that diverged
