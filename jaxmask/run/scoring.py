"""Scores of a network's weights by a config's criterion, on some of its training images."""

import functools
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from ml_collections import ConfigDict

from jaxmask import tree
from jaxmask.errors import InputError, check_numbers
from jaxmask.run import texts
from jaxmask.run.criteria import Criterion, Subject
from jaxmask.run.programs import shared
from jaxmask.run.seeds import named_key, number
from jaxmask.run.task import Task, axes, shapes
from jaxmask.train import feed

NEW_HEAD = (("head/.*", "train"),)
Variables = dict[str, Any]
Scores = Callable[..., Any]
Passes = Callable[[str, str, Any, Any], None]


class Scoring(NamedTuple):
    """A criterion for the weights of the task's network that may be pruned.

    Attributes:
      criterion: with its settings.
      labels: "mask" for weights that may be pruned, "train" for others.
      batch: () -> the images and labels that it scores on, or nothing if it needs none.
      precision: () -> the context in which it is computed.
      ready: (variables, summed, passes) -> (scorer, weights), in that context; see `Subject` for
        the last two arguments, which may be None.
    """

    criterion: Criterion
    labels: Any
    batch: Callable[[], tuple[jax.Array, ...]]
    precision: Callable[[], AbstractContextManager[Any]]
    ready: Callable[..., tuple[Partial, Any]]


def make_scoring(
    task: Task, config: ConfigDict, chosen: Criterion, text: str, purpose: str, used: bool = True
) -> Scoring:
    """Checks a criterion and the scoring section; nothing is scored yet.

    Args:
      text: what the criterion's functions depend on.
      purpose: "prune" or "initial": the images for each are drawn on their own.
      used: whether anything will be scored; else it needs no examples.

    Raises:
      InputError: a field has an invalid value, or there is nothing to score.
    """
    scoring = config.scoring
    if scoring.mode not in ("eval", "train"):
        raise InputError(f"scoring.mode is {scoring.mode!r}; it must be 'eval' or 'train'")
    check_numbers("scoring.batch_size", [scoring.batch_size], 1)
    check_numbers("scoring.examples_per_class", [scoring.examples_per_class], 0)
    if chosen.single_examples and scoring.mode == "train":
        raise InputError(
            f"the criterion {chosen.name!r} takes gradients of single examples, which have no "
            "batch statistics: set scoring.mode to 'eval'"
        )
    if used and chosen.needs_data and not scoring.examples_per_class:
        raise InputError(
            f"the criterion {chosen.name!r} scores weights on data: "
            "set scoring.examples_per_class above 0"
        )
    labels = pruned_labels(task, config)
    # a single object, so compiled once for all seeds, densities and starting weights
    held = " ".join(sorted(chosen.held))
    identity = f"{task.identity} {text} {held} {scoring.batch_size} {scoring.mode}"
    function = functools.partial(_scores, task, config, chosen)

    @functools.cache
    def batch() -> tuple[jax.Array, ...]:
        if not chosen.needs_data:
            return ()
        seed = number(config.seed, f"{purpose}/batch")
        return scoring_batch(task.dataset.train, scoring.examples_per_class, seed)

    def precision() -> AbstractContextManager[Any]:
        return jax.enable_x64(True) if chosen.double else nullcontext()

    def ready(
        variables: Variables, summed: Any = None, passes: Passes | None = None
    ) -> tuple[Partial, Any]:
        scores = function(passes) if passes else shared("scorer", identity, function)
        weights = tree.partition(variables["params"], labels)
        rest = tree.combine(weights["train"], weights["freeze"])
        dtype = jnp.float64 if chosen.double else jnp.float32
        w, rest, stats, summed = jax.tree.map(
            lambda leaf: jnp.asarray(leaf, dtype),
            (weights["mask"], rest, variables["batch_stats"], summed),
        )
        w, rest, summed = feed.spread((w, rest, summed), task.mesh)
        key = named_key(config.seed, f"{purpose}/scores")
        origin = w if chosen.revives else None
        known = (dict(chosen.held), jnp.float32(config.density))
        return Partial(scores, rest, stats, key, origin, summed, *known), w

    return Scoring(chosen, labels, batch, precision, ready)


def _scores(task: Task, config: ConfigDict, chosen: Criterion, passes: Passes | None = None) -> Any:
    """The criterion as a function of all its arrays."""
    module: Any = task.module.clone(dtype=jnp.float64) if chosen.double else task.module
    network, words = texts.network_of(module), axes(task, config)
    batch_size, train = int(config.scoring.batch_size), config.scoring.mode == "train"

    def apply(parameters: Any, stats: Any, images: jax.Array, train: bool) -> Any:
        if jnp.issubdtype(images.dtype, jnp.integer):
            images = task.augment(None, images)
        return network(parameters, stats, images, train)

    def targets(images: jax.Array, labels: jax.Array) -> Any:
        return task.targets(task.augment(None, images), labels)

    def scores(
        rest: Any, stats: Any, key: jax.Array, origin: Any, summed: Any, held: Any, density: Any,
        w: Any, *batch: Any,
    ) -> Any:  # fmt: skip
        at = Subject(apply, rest, stats, key, task.image_shape, batch_size, train, words, origin,
                     summed, passes, held, density, targets)  # fmt: skip
        return chosen.scorer(at)(w, *batch)

    return scores


def pruned_labels(task: Task, config: ConfigDict) -> Any:
    """The label of each parameter: may be pruned ("mask"), trained whole, or frozen.

    A new head is trained whole, whatever the rules say of it.
    """
    new = NEW_HEAD if config.head == "new" else ()
    labels = tree.label(shapes(task)["params"], (*new, *config.rules), default="train")
    if not any(label == "mask" for label in jax.tree.leaves(labels)):
        raise InputError("there is nothing to prune: label some weights 'mask' in config.rules")
    return labels


def scoring_batch(split: Any, examples_per_class: int, seed: int) -> tuple[jax.Array, jax.Array]:
    """`examples_per_class` random training examples of every class: uint8 images, int32 labels.

    A class with fewer gives all of them.
    """
    labels = np.asarray(split.labels)
    order = np.random.default_rng(seed).permutation(len(labels))
    shuffled = labels[order]
    chosen = [order[shuffled == label][:examples_per_class] for label in np.unique(labels)]
    indices = np.sort(np.concatenate(chosen))
    return jnp.asarray(split.images[indices]), jnp.asarray(labels[indices], jnp.int32)


def check_usable(what: str, w: Any, scores: Any) -> None:
    """Raises InputError for scores of the remaining weights that are not finite, or all zero.

    Args:
      what: whose scores they are, and what for: the message goes on with "scores that are ...".
    """
    given = tree.named_leaves(jax.device_get(scores))
    left = {path: np.asarray(leaf) != 0 for path, leaf in tree.named_leaves(w).items()}
    for path, leaf in given.items():
        if not np.isfinite(leaf[left[path]]).all():
            raise InputError(f"{what} scores that are not finite in {path!r}")
    if not any(leaf.any() for leaf in given.values()):
        raise InputError(f"{what} scores that are all zero, in {', '.join(map(repr, given))}")
