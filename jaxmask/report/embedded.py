"""What runs that learn without labels keep of their networks: embeddings, clusters of images."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from jaxmask.errors import InputError
from jaxmask.report import adaptation, groups, methods
from jaxmask.run.result import EMBEDDINGS, ROUTER


class Embedded(NamedTuple):
    """Images as one network sees them: `features` float32 [n, F], `labels` [n], names by label."""

    features: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]


class Routed(NamedTuple):
    """Which cluster each training image is in: `clusters` [n], `labels` [n], names by label."""

    clusters: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]


class Shown(NamedTuple):
    """A run to draw: its name, its folder, and its networks, rows of `adaptation.named`."""

    name: str
    folder: Path
    networks: pd.DataFrame


def settings_of(runs: pd.DataFrame, most: int) -> tuple[list[Shown], int]:
    """The first run of each setting, of those that learn without labels; how many settings.

    Runs whose networks all have the settings of another run's, and only another seed, are left
    out, as are those after the first `most`.

    Args:
      runs: of `adaptation.named`.
    """
    runs = runs[runs["recipe"].isin(methods.UNLABELED)]
    if runs.empty:
        return [], 0
    settled, _ = groups.settings(runs)
    settled = settled.assign(task=adaptation.tasks_of(runs))
    parents = [Path(folder).resolve().parent for folder in settled["folder"]]
    found: dict[tuple[str, ...], Shown] = {}
    for parent, networks in settled.groupby(pd.Series(parents, settled.index), sort=False):
        first = networks.iloc[0]
        seed = "" if pd.isna(first["seed"]) else f"seed {int(first['seed'])}"
        name = ", ".join(filter(None, (first["task"] or first["dataset"], seed)))
        found.setdefault(tuple(sorted(networks["series"])), Shown(name, parent, networks))
    return list(found.values())[:most], len(found)


def embeddings(network: Path) -> Embedded | None:
    """The embeddings of test images that a network's folder keeps; None if it keeps none.

    Raises:
      InputError: the file is damaged.
    """
    file = network / EMBEDDINGS
    if not file.exists():
        return None
    arrays, classes = _read(file, ("features", "labels"))
    features = arrays["features"].astype(np.float32)
    if features.ndim != 2 or not np.isfinite(features).all():
        raise _damaged(file, "its features are no finite matrix")
    return Embedded(features, arrays["labels"], classes)


def routed(run: Shown) -> Routed | None:
    """The clusters of a cascade's training images; None if the run has no router.

    The classes have the names that the run's embeddings give them.

    Raises:
      InputError: a file is damaged.
    """
    file = run.folder / ROUTER
    if not file.exists():
        return None
    arrays, classes = _read(file, ("clusters", "labels"))
    clusters = arrays["clusters"]
    if clusters.ndim != 1 or clusters.dtype.kind not in "iu" or (clusters < 0).any():
        raise _damaged(file, "its clusters are no list of numbers")
    beside = (embeddings(Path(folder)) for folder in run.networks["folder"])
    named = next((found.classes for found in beside if found is not None), ())
    return Routed(clusters, arrays["labels"], named if len(named) >= len(classes) else classes)


def _read(file: Path, names: Sequence[str]) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """The tensors of these names, equally many rows each, and the names of the classes.

    Without names in the file, or with too few, classes are called by their labels.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, "numpy") as opened:
            arrays = {name: opened.get_tensor(name) for name in names}
            classes = json.loads((opened.metadata() or {}).get("classes", "[]"))
    except (SafetensorError, OSError, ValueError, TypeError) as error:
        raise _damaged(file, str(error)) from None
    labels = arrays["labels"]
    if labels.ndim != 1 or labels.dtype.kind not in "iu" or (labels < 0).any():
        raise _damaged(file, "its labels are no list of numbers")
    if len({len(array) for array in arrays.values() if array.ndim}) != 1 or not len(labels):
        raise _damaged(file, f"{' and '.join(names)} are not of the same images")
    if not isinstance(classes, list) or len(classes) <= labels.max():
        classes = range(int(labels.max()) + 1)
    return arrays, tuple(map(str, classes))


def _damaged(file: Path, why: str) -> InputError:
    return InputError(f"{file} cannot be drawn: {why}; delete it or leave the run out")
