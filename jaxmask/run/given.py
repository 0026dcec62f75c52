"""A mask that another run has found, in place of scores: `config.mask_from`."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from jaxmask import maskfile, tree
from jaxmask.errors import InputError, is_text
from jaxmask.maskfile import compare
from jaxmask.run import starting
from jaxmask.run.initializer import NETWORK, Initializer
from jaxmask.run.seeds import named_key
from jaxmask.run.task import Task, shapes
from jaxmask.task import file as task_file

OTHER = "give the same start and seed, or --config.other_weights=True to take it anyway"


class Given(NamedTuple):
    """A mask for the body of the task's network.

    Attributes:
      masks: a tree of bool with None where nothing is pruned.
      density: of all of it.
      method: what found it, and on which data: "magnitude of trec6".
      about: metadata that its copy keeps, of `ticket.about_mask`.
      path: of its file.
    """

    masks: Any
    density: float
    method: str
    about: Mapping[str, str]
    path: Path


def read(
    task: Task, start: starting.Start, config: ConfigDict, labels: Any, initializer: Initializer
) -> Given:
    """The mask that `config.mask_from` names: a file, or a run directory that has one.

    Args:
      labels: "mask" for what the rules prune; the file must have a mask for each of these leaves,
        of its shape, and for no other.

    Raises:
      InputError: there is no mask, or there are several; it is one of signs, is not for these
        leaves, was found in other weights (unless `config.other_weights`), or its density is not
        `config.density` (unless that is 0).
    """
    if not is_text(config.mask_from):
        raise InputError(f"mask_from is {config.mask_from!r}, a path that files cannot name")
    path = _file(Path(config.mask_from))
    variables = _initial(task, start, config, initializer)
    found = maskfile.read(path, weights=variables["params"])
    if found.kind == "sign":
        raise InputError(f"{path} has masks of signs; give one that switches weights on and off")
    like = tree.partition(shapes(task)["params"], labels)["mask"]
    try:
        masks = tree.aligned(like, found.masks, f"mask_from {path}")
    except InputError as error:
        raise InputError(
            f"{error}; config.rules select what is pruned (a new head never is), and must be those "
            "of that mask, on the same network"
        ) from None
    if not config.other_weights:
        _check_base(path, found.base, variables)
    density = _checked_density(path, masks, float(config.density))
    about = {name: str(text) for name, text in task_file.metadata(found.metadata).items()}
    method = about.get("criterion") or about.get("method", "mask")
    dataset = about.get("dataset", path.stem)
    kept = {"network": config.network.name, "criterion": method, "dataset": dataset,
            "density": repr(density)}  # fmt: skip
    masks = jax.tree.map(lambda leaf: jnp.asarray(leaf, bool), masks)
    return Given(masks, density, f"{method} of {dataset}", kept, path)


def _file(place: Path) -> Path:
    found = compare.find([place]) if os.path.isdir(place) else [place]
    if len(found) > 1:
        names = ", ".join(str(each) for each in found[:3])
        raise InputError(f"mask_from {place} has {len(found)} masks; give one of them: {names}")
    return found[0]


def _initial(
    task: Task, start: starting.Start, config: ConfigDict, initializer: Initializer
) -> dict[str, Any]:
    """The weights that training starts from; of given ones those of the body, without a draw."""
    if start.weights is not None and initializer is NETWORK:
        return starting.given_variables(task, start)
    key = named_key(config.seed, "start")
    return initializer.change(starting.starting_variables(task, start, key))


def _check_base(path: Path, base: maskfile.Base | None, variables: dict[str, Any]) -> None:
    if base is None:
        raise InputError(f"mask_from {path} does not say in which weights it was found; {OTHER}")
    # a task that has the classes of its base network names all of that
    for own in (starting.body_fingerprint(variables), maskfile.fingerprint(variables)):
        if own == base.fingerprint:
            return
    raise InputError(
        f"mask_from {path} was found in other weights than this run starts from: the fingerprints "
        f"without the head differ ({base.name}); {OTHER}"
    )


def _checked_density(path: Path, masks: Any, wanted: float) -> float:
    """The mask's density; that which was wanted, if it is this one but for a weight per leaf."""
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(masks)]
    size, kept = sum(leaf.size for leaf in leaves), sum(int(leaf.sum()) for leaf in leaves)
    density = kept / max(size, 1)
    if wanted == 0:
        return density
    if abs(density - wanted) * size > len(leaves):
        raise InputError(
            f"the mask of {path} has density {density:.6g}, and density is {wanted:g}; set density "
            "to 0 for the mask's own, or give another mask (a lottery has one for each level, in "
            "level_01, level_02, ...)"
        )
    return wanted
