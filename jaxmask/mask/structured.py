"""Structured masks: whole blocks, or whole output channels, share one decision.

The scores of a unit are reduced to one, `keep_top` chooses exactly among the units, and each
choice is broadcast to the weights of its unit.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxmask.errors import InputError
from jaxmask.mask.axes import Axes, Stated, answers
from jaxmask.mask.check import integers, require_floating
from jaxmask.mask.n_of_m import adjacent
from jaxmask.mask.select import keep_top
from jaxmask.precision import widened
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
    axes: Stated = (),
) -> PyTree:
    """Keeps exactly the share `density` of blocks, the highest-scoring ones, each as a whole.

    Of B blocks, `B - floor((1 - density) * B)` are kept (Narang et al. 2017,
    https://arxiv.org/abs/1711.02782, prune by the maximum of a block).

    Args:
      scores: a tree of floating-point arrays; higher means keep.
      density: share of blocks kept, in (0, 1]; as in `keep_top`. As all blocks are equally large,
        also the share of weights.
      block: the sides of a block: (4, 2) is 4 inputs by 2 outputs. Where there are several axes of
        either (heads and their sizes), it is along the last, or more adjacent ones in the order of
        memory if that is no multiple of the side. Any other number of sides is along the last axes.
      scope: `"global"` or `"layer"`: whether blocks compete in the whole tree or in each layer.
      reduce: the score of a block, from those of its weights: `"sum"`, `"mean"` or `"max"`, in
        float32 or wider. If one is NaN, so is the block's, which is never kept ahead of a number.
      ties: how to choose among blocks of equal score; as in `keep_top`.
      key: as in `keep_top`.
      axes: what the axes of leaves mean, where it is not guessed; see `mask.describe`.

    Returns:
      A tree of bool with the shapes of `scores`.

    Raises:
      InputError: as `keep_top`; for an unknown reduce; unless the sides are positive integers;
        naming the leaf, if it has fewer axes than a block, they are not multiples of its sides
        (there are no partial blocks), or blocks depend on what its axes mean.

    Example:
      >>> kernel = jnp.array([[9.0, 0.0, 1.0, 1.0], [0.0, 0.0, 1.0, 1.0]])
      >>> mask.keep_blocks({"kernel": kernel}, 0.5, (2, 2))["kernel"].astype(int).tolist()
      [[1, 1, 0, 0], [1, 1, 0, 0]]
    """
    sides = integers(block, "block")
    if not sides or min(sides) < 1:
        raise InputError(f"block {sides}; give the sides of a block, positive integers")
    parts_of = functools.partial(_blocks, sides)
    which = "inputs and outputs" if len(sides) == 2 else f"last {len(sides)} axes"
    wanted = f"its {which} must be multiples of the block {sides}"
    return _keep(scores, density, scope, reduce, ties, key, axes, parts_of, wanted)


def keep_channels(
    scores: PyTree,
    density: Any,
    axis: int | None = None,
    scope: str = "global",
    reduce: str = "mean",
    ties: str = "random",
    key: jax.Array | None = None,
    axes: Stated = (),
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
      axis: the one axis of the channels, in every leaf. None takes the outputs from `axes`, and
        each of stacked layers has its own channels; of several axes of outputs (heads and their
        sizes) each entry is a channel. To keep whole heads, call their size a window:
        `axes=[(".*/query/kernel", "in out window")]`.
      scope: `"global"` or `"layer"`: whether channels compete in the whole tree or in each layer.
      reduce: `"mean"`, `"sum"` or `"max"`, in float32 or wider; as in `keep_blocks`.
      ties: how to choose among channels of equal score; as in `keep_top`.
      key: as in `keep_top`.
      axes: what the axes of leaves mean, where it is not guessed; see `mask.describe`.

    Returns:
      A tree of bool with the shapes of `scores`.

    Raises:
      InputError: as `keep_top`; for an unknown reduce; naming the leaf, if it has no such axis, or
        its channels depend on what its axes mean.

    Example:
      >>> kernel = jnp.array([[9.0, 2.0, 1.0, 3.0], [0.0, 2.0, 1.0, 3.0]])
      >>> mask.keep_channels({"kernel": kernel}, 0.5)["kernel"].astype(int).tolist()
      [[1, 0, 0, 1], [1, 0, 0, 1]]
    """
    if axis is not None:
        (axis,) = integers([axis], "axis")
    wanted = "it has no outputs" if axis is None else f"it has no axis {axis}"
    parts_of = functools.partial(_channels, axis)
    return _keep(scores, density, scope, reduce, ties, key, axes, parts_of, wanted)


Parts = tuple[tuple[int, ...], tuple[int, ...], str]


def _blocks(
    sides: tuple[int, ...], scope: str, found: Axes, shape: tuple[int, ...]
) -> Parts | None:
    """Two sides are of the inputs and the outputs; other numbers are of the last axes."""
    if len(sides) == 2:
        two = zip((found.inputs, found.outputs), sides)
        groups = [(adjacent(axes, shape, side), side) for axes, side in two]
    else:
        last = range(len(shape) - len(sides), len(shape))
        if last.start < 0:
            return None
        groups = [(adjacent((axis,), shape, side), side) for axis, side in zip(last, sides)]
    if not all(axes for axes, _ in groups):
        return None
    begun = {axes[0]: (axes, side) for axes, side in groups}
    inside = {axis for axes, _ in groups for axis in axes[1:]}
    lengths: list[int] = []
    reduced: list[int] = []
    words: list[str] = []
    for axis, length in enumerate(shape):
        if axis in begun:
            axes, side = begun[axis]
            reduced.append(len(lengths) + 1)
            lengths += [math.prod(shape[each] for each in axes) // side, side]
            words.append("out")
        elif axis not in inside:
            lengths.append(length)
            words.append(_word(axis, found, scope))
    return tuple(lengths), tuple(reduced), " ".join(words)


def _channels(axis: int | None, scope: str, found: Axes, shape: tuple[int, ...]) -> Parts | None:
    kept = sorted(found.layers + found.outputs) if axis is None else [axis]
    if not shape or not all(-len(shape) <= each < len(shape) for each in kept):
        return None
    kept = [each % len(shape) for each in kept]
    if axis is None and not found.outputs:
        return None
    reduced = tuple(each for each in range(len(shape)) if each not in kept)
    return shape, reduced, " ".join(_word(each, found, scope) for each in kept)


def _word(axis: int, found: Axes, scope: str) -> str:
    """Of an axis of the units: whether its entries are chosen from apart."""
    return "layers" if scope == "layer" and axis in found.layers else "out"


def _keep(
    scores: PyTree,
    density: Any,
    scope: str,
    reduce: str,
    ties: str,
    key: jax.Array | None,
    axes: Stated,
    parts_of: Callable[[str, Axes, tuple[int, ...]], Parts | None],
    wanted: str,
) -> PyTree:
    """Reduces each unit to one score, keeps the highest, and spreads the choice over the unit.

    `parts_of` gives the shape of a leaf in which units are reduced, over which axes, and what the
    other axes mean; None for a leaf that is not as `wanted`.
    """
    if scope not in ("global", "layer"):
        raise InputError(f"unknown scope {scope!r}; give 'global' or 'layer'")
    if reduce not in REDUCE:
        raise InputError(f"unknown reduce {reduce!r}; give one of {', '.join(map(repr, REDUCE))}")
    require_floating(scores, "scores")
    leaves, structure = jax.tree.flatten(scores)
    divided = answers(scores, axes, functools.partial(parts_of, scope), "which weights form a unit")
    for index, (leaf, parts) in enumerate(zip(leaves, divided)):
        if parts is None:
            raise InputError(f"scores: {paths(scores)[index]!r} has shape {leaf.shape}; {wanted}")
    words = {str(index): parts[2] for index, parts in enumerate(divided)}

    def chosen(leaves: list[Any], density: Any, key: jax.Array | None) -> list[jax.Array]:
        units = []
        for leaf, (shape, reduced, _) in zip(leaves, divided):
            # In bfloat16, different sums would be rounded to the same value.
            wide = lax.stop_gradient(widened(leaf))
            units.append(REDUCE[reduce](wide.reshape(shape), axis=reduced))
        kept = keep_top(units, density, scope, ties, key, words)
        return [
            jnp.broadcast_to(jnp.expand_dims(unit, reduced), shape).reshape(leaf.shape)
            for leaf, unit, (shape, reduced, _) in zip(leaves, kept, divided)
        ]

    return jax.tree.unflatten(structure, automatic(chosen, leaves, leaves, density, key))
