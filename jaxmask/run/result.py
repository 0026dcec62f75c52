"""The result of a finished run: one type that all recipes fill and all reports read."""

import hashlib
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxmask import files
from jaxmask.errors import InputError
from jaxmask.tree import named_leaves

NAME = "result.json"
# beside it, of networks and classifiers that reports look into
PREDICTED = "predicted.npy"  # int32 [2, N]: the classes of the test images, and their labels
EMBEDDINGS = "embeddings.safetensors"  # of a network, of some test images
ROUTER = "router.safetensors"  # of a cascade, with the clusters of the training images
# old field names and their new names
_RENAMED = {"regularisation": "regularization", "neighbours": "neighbors"}
LIBRARIES = ("jaxmask", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


class Result(NamedTuple):
    """The content of `result.json`.

    Attributes:
      recipe, method, network, dataset, seed: what was run; for a comparison, the best method.
      accuracy: on the test split, None if it was not read; `validation_accuracy`: of the same
        weights on the validation split, None without one.
      density: fraction of the masked weights that is kept; `density_by_leaf`: by path.
      empty_leaves: paths of masked leaves with nothing left.
      mask_bits: bits of all masks.
      trained_numbers: the number of trainable parameters.
      storage_bytes: on disk, of all that the task needs besides the base network.
      steps, seconds: of training, summed over interruptions.
      more: fields that the recipe adds; in the file they are at the top level.
    """

    recipe: str
    method: str
    dataset: str
    seed: int
    accuracy: float | None
    validation_accuracy: float | None
    storage_bytes: int
    steps: int
    seconds: float
    network: str = ""
    density: float = 1.0
    density_by_leaf: Mapping[str, float] = {}
    empty_leaves: tuple[str, ...] = ()
    mask_bits: int = 0
    trained_numbers: int = 0
    more: Mapping[str, Any] = {}

    def as_json(self) -> dict[str, Any]:
        """All fields by name, as the file has them."""
        fields = {**self._asdict(), **self.more, "empty_leaves": list(self.empty_leaves)}
        del fields["more"]
        return fields


def write(folder: Path, result: Result) -> Result:
    """Writes `result.json` atomically, as the last file; it marks the run as finished."""
    versions = {name: metadata.version(name) for name in LIBRARIES}
    files.write_json(folder / NAME, {**result.as_json(), "versions": versions})
    return read(folder)


def read(folder: Path) -> Result:
    """The result of a finished run; fields missing in its file are None (or empty).

    Raises:
      InputError: it is missing, cannot be read, or is not a result of this project.
    """
    path = folder / NAME
    found = files.read_json(path, "delete the run directory or leave it out")
    if "accuracy" not in found:
        raise InputError(
            f"{path} is not a result of this project: it has no 'accuracy'; delete the run "
            "directory or leave it out"
        )
    found = {_RENAMED.get(name, name): value for name, value in found.items()}
    known = {name: found.pop(name, None) for name in Result._fields if name != "more"}
    known["density_by_leaf"] = known["density_by_leaf"] or {}
    known["empty_leaves"] = tuple(known["empty_leaves"] or ())
    return Result(**known, more=found)


def fingerprint(variables: Any) -> str:
    """SHA-256 of all arrays with their names, shapes and dtypes; not of the file, because the
    order of its header may vary."""
    digest = hashlib.sha256()
    for name, leaf in sorted(named_leaves(variables).items()):
        array = np.ascontiguousarray(leaf)
        digest.update(f"{name} {array.dtype.str} {array.shape} ".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
