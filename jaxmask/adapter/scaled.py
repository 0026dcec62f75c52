"""A learned scale for each output channel, on top of another adapter."""

from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp

from jaxmask import mask, tree
from jaxmask.adapter.base import Adapter, Stored, Tree
from jaxmask.errors import InputError
from jaxmask.mask.axes import Axes, Stated, answers
from jaxmask.precision import wide

SCALE = "scale"  # the learned group, and the stored arrays


def scaled(way: Adapter, rules: Iterable[tuple[str, str]], axes: Stated = ()) -> Adapter:
    """`way`, with its weights labeled "mask" multiplied by a learned scale per output channel.

    `w' = c * w`, with w as `way` gives it and one number c for each output (of each of stacked
    layers), from 1 on. The learned group is "scale", with the optimizer of weights. Before a batch
    norm in training, which divides by the output's spread, c has no effect: train the norms there.

    Args:
      way: any adapter without a learned group "scale".
      rules: pairs (regex, label), as for `tree.label`.
      axes: what the axes of leaves mean, where it is not guessed; see `mask.describe`.

    Raises:
      InputError: by `init`, for a leaf whose outputs are not known; by `restore`, for scales that
        do not fit the weights.

    Example:
      >>> from jaxmask import adapter
      >>> rules = [("head/.*", "train"), (".*/kernel", "mask")]
      >>> way = adapter.scaled(adapter.masks(mask.threshold(), rules), rules)
      >>> params = {"fc": {"kernel": jnp.ones((8, 6))}, "head": {"kernel": jnp.ones((6, 3))}}
      >>> learned, frozen = way.init(jax.random.key(0), params)
      >>> learned["scale"]["fc"]["kernel"].shape
      (1, 6)
    """
    rules = tuple(rules)

    def init(key: jax.Array, params: Tree) -> tuple[dict[str, Tree], dict[str, Tree]]:
        learned, frozen = way.init(key, params)
        masked = tree.partition(params, tree.label(params, rules))["mask"]
        leaves, structure = jax.tree.flatten(masked)
        known = mask.describe(params, axes)  # biases, which are not masked, tell more
        shapes = answers(masked, known, _shape, "a scale of its outputs")
        ones = [jnp.ones(shape, wide(w.dtype)) for shape, w in zip(shapes, leaves)]
        return {**learned, SCALE: jax.tree.unflatten(structure, ones)}, frozen

    def parameters(learned: dict[str, Tree], frozen: dict[str, Tree]) -> Tree:
        return _multiplied(way.parameters(_without(learned), frozen), learned[SCALE])

    def optimizers(section: Any) -> dict[str, Any]:
        return {**way.optimizers(section), SCALE: section.weights()}

    def store(learned: dict[str, Tree], frozen: dict[str, Tree]) -> Stored:
        stored = way.store(_without(learned), frozen)
        return stored._replace(arrays={**stored.arrays, SCALE: learned[SCALE]})

    def restore(params: Tree, stored: Stored) -> Tree:
        found = way.restore(params, stored._replace(arrays=_without(stored.arrays)))
        return _multiplied(found, stored.arrays.get(SCALE, {}))

    return Adapter(init, parameters, optimizers, store, restore)


def _shape(found: Axes, shape: tuple[int, ...]) -> tuple[int, ...]:
    kept = (*found.layers, *found.outputs)
    return tuple(size if axis in kept else 1 for axis, size in enumerate(shape))


def _without(groups: dict[str, Any]) -> dict[str, Any]:
    return {name: each for name, each in groups.items() if name != SCALE}


def _multiplied(params: Tree, scales: Tree) -> Tree:
    """The parameters, those with a scale multiplied by it."""
    known = tree.named_leaves(params)
    changed = {}
    for path, scale in tree.named_leaves(scales).items():
        if path not in known:
            raise InputError(f"there is a scale of {path!r}, which does not exist")
        weight = known[path]
        if not tree.is_floating(scale) or not _fits(jnp.shape(scale), jnp.shape(weight)):
            raise InputError(
                f"the scale of {path!r} has shape {jnp.shape(scale)}, which does not fit the "
                f"weight's, {jnp.shape(weight)}"
            )
        changed[path] = (weight * scale).astype(weight.dtype)
    return tree.replaced(params, tree.nested(changed), "the scales")


def _fits(scale: tuple[int, ...], weight: tuple[int, ...]) -> bool:
    return len(scale) == len(weight) and all(a in (1, b) for a, b in zip(scale, weight))
