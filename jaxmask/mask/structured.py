"""Structured masks: whole blocks, or whole output channels, share one decision.

The scores of a unit are reduced to one, `keep_top` chooses exactly among the units, and each
choice is broadcast to the weights of its unit.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxmask.errors import InputError
from jaxmask.mask.check import integers, require_floating
from jaxmask.precision import widened
from jaxmask.mask.select import keep_top
from jaxmask.sharding import automatic
from jaxmask.tree import PyTree, paths

REDUCE: dict[str, Callable[..., jax.Array]] = {
    "sum": jnp.sum,
    "mean": jnp.mean,
    "max": functools.partial(jnp.max, initial=-jnp.inf),
}


def keep_blocks(
    scores: PyTree,
    density: Any,
    block: Sequence[int] = (4, 4),
    scope: str = "global",
    reduce: str = "sum",
    ties: str = "random",
    key: jax.Array | None = None,
) -> PyTree:
    """Keeps exactly the share `density` of blocks, the highest-scoring ones, each as a whole.

    Of B blocks, `B - floor((1 - density) * B)` are kept (Narang et al. 2017,
    https://arxiv.org/abs/1711.02782, prune by the maximum of a block).

    Args:
      scores: a tree of floating-point arrays; higher means keep.
      density: share of blocks kept, in (0, 1]; as in `keep_top`. As all blocks are equally large,
        also the share of weights.
      block: the sides of a block, along the last axes of each leaf: (4, 4) is 4 inputs by 4
        outputs of a Linen kernel `[..., in, out]`.
      scope: `"global"` or `"layer"`: whether blocks compete in the whole tree or in each leaf.
      reduce: the score of a block, from those of its weights: `"sum"`, `"mean"` or `"max"`, in
        float32 or wider. If one is NaN, so is the block's, which is never kept ahead of a number.
      ties: how to choose among blocks of equal score; as in `keep_top`.
      key: as in `keep_top`.

    Returns:
      A tree of bool with the shapes of `scores`.

    Raises:
      InputError: as `keep_top`; for an unknown reduce; unless the sides are positive integers;
        naming the leaf, if it has fewer axes than a block, or they are not multiples of its sides:
        there are no partial blocks.

    Example:
      >>> kernel = jnp.array([[9.0, 0.0, 1.0, 1.0], [0.0, 0.0, 1.0, 1.0]])
      >>> mask.keep_blocks({"kernel": kernel}, 0.5, (2, 2))["kernel"].astype(int).tolist()
      [[1, 1, 0, 0], [1, 1, 0, 0]]
    """
    sides = integers(block, "block")
    if not sides or min(sides) < 1:
        raise InputError(f"block {sides}; give the sides of a block, positive integers")

    def parts_of(shape: tuple[int, ...]) -> tuple[Sequence[int], tuple[int, ...]] | None:
        first = len(shape) - len(sides)
        if first < 0 or any(length % side for length, side in zip(shape[first:], sides)):
            return None
        parts = [*shape[:first]]
        for length, side in zip(shape[first:], sides):
            parts += [length // side, side]
        return parts, tuple(range(first + 1, len(parts), 2))

    wanted = f"its last {len(sides)} axes must be multiples of the block {sides}"
    return _keep(scores, density, scope, reduce, ties, key, parts_of, wanted)


def keep_channels(
    scores: PyTree,
    density: Any,
    axis: int = -1,
    scope: str = "global",
    reduce: str = "mean",
    ties: str = "random",
    key: jax.Array | None = None,
) -> PyTree:
    """Keeps exactly the share `density` of channels, the highest-scoring ones, each as a whole.

    Of C channels, `C - floor((1 - density) * C)` are kept. The score of a channel is the mean over
    its weights, so that channels of small and large kernels are comparable. Li et al. 2017,
    https://arxiv.org/abs/1608.08710, prune in each layer by the sum of magnitudes, which gives
    the channels of one leaf the same order.

    Args:
      scores: a tree of floating-point arrays of one axis or more; higher means keep. An entry of a
        vector is a channel: leave biases out with `tree.partition`.
      density: share of channels kept, in (0, 1]; as in `keep_top`. The share of weights differs if
        leaves with channels of different sizes compete.
      axis: of the channels; -1 is the output axis of a Linen kernel `[..., in, out]`.
      scope: `"global"` or `"layer"`: whether channels compete in the whole tree or in each leaf.
      reduce: `"mean"`, `"sum"` or `"max"`, in float32 or wider; as in `keep_blocks`.
      ties: how to choose among channels of equal score; as in `keep_top`.
      key: as in `keep_top`.

    Returns:
      A tree of bool with the shapes of `scores`.

    Raises:
      InputError: as `keep_top`; for an unknown reduce; naming the leaf, if it has no such axis.

    Example:
      >>> kernel = jnp.array([[9.0, 2.0, 1.0, 3.0], [0.0, 2.0, 1.0, 3.0]])
      >>> mask.keep_channels({"kernel": kernel}, 0.5)["kernel"].astype(int).tolist()
      [[1, 0, 0, 1], [1, 0, 0, 1]]
    """
    (axis,) = integers([axis], "axis")

    def parts_of(shape: tuple[int, ...]) -> tuple[Sequence[int], tuple[int, ...]] | None:
        if not -len(shape) <= axis < len(shape):
            return None
        return shape, tuple(other for other in range(len(shape)) if other != axis % len(shape))

    return _keep(scores, density, scope, reduce, ties, key, parts_of, f"it has no axis {axis}")


def _keep(
    scores: PyTree,
    density: Any,
    scope: str,
    reduce: str,
    ties: str,
    key: jax.Array | None,
    parts_of: Callable[[tuple[int, ...]], tuple[Sequence[int], tuple[int, ...]] | None],
    wanted: str,
) -> PyTree:
    """`parts_of` a leaf's shape: the shape, and its axes, in which each unit is reduced to one.

    It returns None for a leaf that is not as `wanted`.
    """
    if scope not in ("global", "layer"):
        raise InputError(f"unknown scope {scope!r}; give 'global' or 'layer'")
    if reduce not in REDUCE:
        raise InputError(f"unknown reduce {reduce!r}; give one of {', '.join(map(repr, REDUCE))}")
    require_floating(scores, "scores")
    leaves, structure = jax.tree.flatten(scores)
    divided = []
    for index, leaf in enumerate(leaves):
        parts = parts_of(leaf.shape)
        if parts is None:
            raise InputError(f"scores: {paths(scores)[index]!r} has shape {leaf.shape}; {wanted}")
        divided.append(parts)

    def chosen(leaves: list[Any], density: Any, key: jax.Array | None) -> list[jax.Array]:
        units = []
        for leaf, (shape, axes) in zip(leaves, divided):
            # In bfloat16, different sums would be rounded to the same value.
            wide = lax.stop_gradient(widened(leaf))
            units.append(REDUCE[reduce](wide.reshape(shape), axis=axes))
        kept = keep_top(units, density, scope, ties, key)
        return [
            jnp.broadcast_to(jnp.expand_dims(unit, axes), shape).reshape(leaf.shape)
            for leaf, unit, (shape, axes) in zip(leaves, kept, divided)
        ]

    return jax.tree.unflatten(structure, automatic(chosen, leaves, leaves, density, key))
