"""A learned task ready for use: from its file, or a run directory, to predictions."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxmask import data, evaluate, mask, mask_files, model
from jaxmask.errors import InputError
from jaxmask.recipe import run_directory, task_file


class Learned(NamedTuple):
    """A network that has taken on a task.

    Attributes:
      logits: (variables, uint8 images [B, H, W, C]) -> float32 [B, classes], jitted.
      variables: what the network computes with ("params", "batch_stats"), and "neighbors".
      module: the Linen network.
      prepare: uint8 images -> what the network sees.
      classes: their names.
      about: all that the file says of itself; "stored_shape" is that of the images that it was
        learned from.
      source: the file.
    """

    logits: Callable[[Any, jax.Array], jax.Array]
    variables: dict[str, Any]
    module: nn.Module
    prepare: Callable[[jax.Array], jax.Array]
    classes: tuple[str, ...]
    about: dict[str, Any]
    source: Path


def load(path: str | Path, base: str = "") -> Learned:
    """A learned task.

    Args:
      path: a `.mask` file, a run directory of `adapt` (its best method's task) or of one of its
        methods, or one of `dense`.
      base: the weights that the task was learned over, as a config's `start`. By default those of
        the run that the file lies in, else those that the file names.

    Raises:
      InputError: there is no such task, its base network is not found, or is another one.
    """
    path = Path(path)
    file = find(path)
    if file.suffix != ".mask":
        weights, about = run_directory.load_weights(file)
        if not {"network", "classes", "mean", "std"} <= about.keys():
            raise InputError(f"{file} says of no network what it is; give a run directory")
        return _ready(weights, {"method": "dense", **about}, file, {})
    parts = read(file, base)
    variables = task_file.variables(parts.base, parts.file, parts.about)
    return _ready(variables, parts.about, file, parts.file.arrays.get("neighbors", {}))


class Parts(NamedTuple):
    """A task that is not yet put onto its base network.

    Attributes:
      base: {"params", "batch_stats"} of the network that it was learned over.
      file: the task.
      about: what the file says of it, by name.
    """

    base: dict[str, Any]
    file: mask.file.MaskFile
    about: dict[str, Any]


def read(file: Path, base: str = "") -> Parts:
    """A task's file and its base network; see `load`.

    Raises:
      InputError: see `load`.
    """
    header = mask.file.read_header(file)
    about = task_file.about(header["metadata"], file)
    bare, _, _ = mask_files.base_of(file, header, base)
    return Parts(bare, mask.file.read(file, weights=bare["params"]), about)


class Network(NamedTuple):
    """The network that a file is about.

    Attributes:
      module: the Linen network.
      prepare: uint8 images [B, H, W, C] -> what it sees; RGB becomes gray for a network that
        sees one channel, and the other way round.
    """

    module: nn.Module
    prepare: Callable[[jax.Array], jax.Array]


def network(about: dict[str, Any], classes: int) -> Network:
    """The network that a file is about, with a head for so many classes."""
    options = {"stem": about["stem"]} if about.get("stem") else {}
    module = model.create(about["network"], classes=classes, width=about["width"], **options)
    height, width, channels = about.get("image_shape", (0, 0, 0))
    augment = data.augmentation(
        mean=about["mean"], std=about["std"], size=height if height == width else 0
    )

    def prepare(images: jax.Array) -> jax.Array:
        if channels == 1 and images.shape[-1] == 3:
            gray = images @ jnp.array([0.299, 0.587, 0.114])  # ITU-R BT.601
            images = jnp.round(gray)[..., None].astype(jnp.uint8)
        elif channels == 3 and images.shape[-1] == 1:
            images = jnp.repeat(images, 3, axis=-1)
        return augment(None, images)

    return Network(module, prepare)


def _ready(
    variables: dict[str, Any], about: dict[str, Any], file: Path, neighbors: dict[str, Any]
) -> Learned:
    classes = tuple(about["classes"])
    module, prepare = network(about, len(classes))

    @jax.jit
    def logits(variables: dict[str, Any], images: jax.Array) -> jax.Array:
        stored = variables.get("neighbors")
        network = {name: variables[name] for name in ("params", "batch_stats")}
        found: Any = module.apply(network, prepare(images), features=stored is not None)
        if stored is None:
            return found
        scores = evaluate.knn(
            stored["features"], stored["labels"], found, classes=len(classes),
            neighbors=int(about["neighbors"]), temperature=about["temperature"],
        )  # fmt: skip
        return jnp.log(scores / scores.sum(axis=1, keepdims=True) + 1e-12)

    more = {"neighbors": neighbors} if neighbors else {}
    variables = jax.tree.map(jnp.asarray, {"batch_stats": {}, **variables, **more})
    return Learned(logits, variables, module, prepare, classes, about, file)


def find(path: Path) -> Path:
    """The file that a path means."""
    if not path.exists():
        raise InputError(f"there is no {path}; give a .mask file or a run directory")
    if path.is_file():
        return path
    try:
        result = json.loads((path / "result.json").read_text())
        names = [result["method"]] if "methods" in result else []
    except (OSError, ValueError, TypeError, KeyError):
        raise InputError(f"{path} is no finished run directory; finish the run first") from None
    folder = path.joinpath(*names)
    for file in (folder / "masks" / "task.mask", folder / "weights.safetensors"):
        if file.exists():
            return file
    raise InputError(f"{path} holds no learned task; give a run of 'adapt' or 'dense'")
