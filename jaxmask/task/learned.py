"""A learned task ready for use, loaded from its file or a run directory."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxmask import data, files, maskfile, model, signals
from jaxmask.adapter import EVALUATORS, KNOWN
from jaxmask.convolution import fast
from jaxmask.errors import InputError
from jaxmask.model import outside
from jaxmask.model import weights as weights_file
from jaxmask.task import base as bases
from jaxmask.task import file as task_file
from jaxmask.task import schema

CASCADE = "cascade"  # the method of such a file


class Learned(NamedTuple):
    """A network adapted to a task.

    Attributes:
      logits: (variables, uint8 images [B, H, W, C] or token ids int32 [B, L]) -> float32
        [B, classes], jitted.
      variables: the network's ("params", "batch_stats"), and "stored": what else a classifier of
        features needs. Of a cascade, as `cascade.Served` says.
      module: the Linen network.
      prepare: uint8 images -> the network's input.
      classes: their names.
      about: the file's metadata; "stored_shape" is the shape of the training images.
      source: the file.
    """

    logits: Callable[[Any, jax.Array], jax.Array]
    variables: dict[str, Any]
    module: nn.Module
    prepare: Callable[[jax.Array], jax.Array]
    classes: tuple[str, ...]
    about: dict[str, Any]
    source: Path


def load(
    path: str | Path, base: str | Path = "", adapters: task_file.Adapters = KNOWN, network: str = ""
) -> Learned:
    """Loads a learned task.

    Args:
      path: a `.mask` file, a run directory of `adapt`, `self_mask` or `cascade` (its best
        method's task) or of one of its methods, or one of `dense`.
      base: the base weights of the task, in the form of a config's `start`. By default those of
        the run that contains the file, else those that the file names.
      adapters: those that the file may name; `{**adapter.KNOWN, "mine": ...}` adds your own.
      network: `package.module:Class`, if the task's network is your own: nothing that a file
        names is imported.

    Raises:
      InputError: the task does not exist, its base network is not found or does not match, or its
        adapter or network is unknown.

    Example:
      >>> birds = learned.load("runs/birds/mask")  # doctest: +SKIP
      >>> birds.logits(birds.variables, images).argmax(-1)  # doctest: +SKIP
    """
    path = Path(path)
    file = find(path)
    if file.suffix != ".mask":
        weights, about = weights_file.load(file)
        about = {"method": "dense", **about}
        if not about.keys() >= {"network", "classes"}:
            raise InputError(f"{file} does not name its network; give a run directory")
        schema.check(about, file, schema.needed(about))
        schema.check_arrays(weights, file)
        return _ready({"batch_stats": {}, **weights}, about, file, network)
    parts = read(file, str(base))
    if is_cascade(parts.file.about):
        from jaxmask.task import cascade  # which serves tasks, and so imports this module

        about = parts.file.about
        ready = cascade.served(parts.base, parts.file, adapters, network)
        return Learned(ready.logits, ready.variables, ready.module, ready.prepare,
                       tuple(about["classes"]), about, file)  # fmt: skip
    check_classifier(parts.file)
    variables = task_file.restored(parts.base, parts.file, adapters)
    return _ready(variables, parts.file.about, file, network, parts.file.stored.arrays)


class Parts(NamedTuple):
    """A task, and its base network.

    Attributes:
      base: {"params", "batch_stats"} of the base network.
      file: the task.
    """

    base: dict[str, Any]
    file: task_file.TaskFile


def read(file: Path, base: str = "") -> Parts:
    """Reads a task's file and its base network; see `load`.

    Raises:
      InputError: see `load`.
    """
    signals.obey()
    header = maskfile.read_header(file)
    about = task_file.metadata(header["metadata"])
    schema.check(about, file, schema.needed(about))
    bare = bases.find(file, about, header["base"], base).variables
    return Parts(bare, task_file.read(file, weights=bare["params"]))


class Pipeline(NamedTuple):
    """The network of a file.

    Attributes:
      module: the Linen network.
      prepare: uint8 images [B, H, W, C] -> its input; RGB becomes gray for a network of one
        channel, and vice versa. Token ids stay as they are.
    """

    module: nn.Module
    prepare: Callable[[jax.Array], jax.Array]


def pipeline(about: dict[str, Any], classes: int, network: str = "") -> Pipeline:
    """The network of a file, with a head for `classes` classes.

    Args:
      network: its name again, if it is the caller's own.

    Raises:
      InputError: the network is from outside this package and the caller does not name it.
    """
    name = about["network"]
    if outside.is_outside(name) and name != network:
        raise InputError(
            f"the network {name!r} is not one of this package's, and names in files are not "
            f"imported; if you trust it, give network={name!r} (--network={name})"
        )
    options = {"stem": about["stem"]} if about.get("stem") else about.get("options", {})
    module = model.create(name, classes=classes, width=about["width"], **options)
    if schema.is_of_texts(about):
        return Pipeline(module, lambda ids: ids)
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

    return Pipeline(module, prepare)


def is_cascade(about: Mapping[str, Any]) -> bool:
    """Whether the metadata of a file are those of a cascade of masks; see `task.cascade`."""
    return about.get("method") == CASCADE


Classify = Callable[[dict[str, Any], Mapping[str, Any], jax.Array, int], jax.Array]


def classifier_of(about: Mapping[str, Any]) -> Classify | None:
    """What classifies features in place of the network's own head, for a task that has such."""
    evaluator = EVALUATORS.get(about.get("method", ""))
    return evaluator.classify if evaluator else None


def check_classifier(file: task_file.TaskFile) -> None:
    """Raises InputError if an evaluator's task lacks what it classifies by."""
    evaluator = EVALUATORS.get(file.about["method"])
    if evaluator is not None:
        with schema.naming(file.path):
            evaluator.check_stored(file.stored, len(file.about["classes"]))


def _ready(
    variables: dict[str, Any],
    about: dict[str, Any],
    file: Path,
    network: str,
    stored: dict[str, Any] | None = None,
) -> Learned:
    classes = tuple(about["classes"])
    schema.check_classifies(about, file)
    with schema.naming(file):
        module, prepare = pipeline(about, len(classes), network)
    classify = classifier_of(about)
    schema.check_network(about, variables, module, file, head=classify is None)

    @jax.jit
    @fast
    def logits(variables: dict[str, Any], images: jax.Array) -> jax.Array:
        network = {name: variables[name] for name in ("params", "batch_stats")}
        if classify is None:
            found: Any = module.apply(network, prepare(images), **model.mode(module, False))
            return found
        features: Any = module.apply(
            network, prepare(images), features=True, **model.mode(module, False)
        )
        return classify(variables["stored"], about, features, len(classes))

    if classify is not None:
        variables = {**variables, "stored": stored}
    return Learned(
        logits, jax.tree.map(jnp.asarray, variables), module, prepare, classes, about, file
    )


def find(path: Path) -> Path:
    """The file that a path means."""
    if not path.exists():
        raise InputError(f"there is no {path}; give a .mask file or a run directory")
    if path.is_file():
        return path
    remedy = f"{path} is not a finished run directory: finish the run first"
    result = files.read_json(path / "result.json", remedy)
    folder = path / str(result.get("method")) if "methods" in result else path
    for file in (folder / "masks" / "task.mask", folder / weights_file.NAME):
        if file.exists():
            return file
    raise InputError(f"{path} holds no learned task; give a run of 'adapt' or 'dense'")
