"""How many weights to keep: over the whole tree, in each leaf, or by Erdos-Renyi-kernel.

For a density `d` of `N` weights, `removed = floor((1 - d) * N)` and `kept = N - removed`, in exact
decimal arithmetic: 0.9 of 10 keeps 9, although binary 0.9 is not exactly nine tenths.
"""

import math
from fractions import Fraction
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxmask.errors import InputError
from jaxmask.mask.axes import Stated
from jaxmask.mask.check import check_density, check_scope, require_countable
from jaxmask.mask.stack import layers_by_scope, shapes_of_layers
from jaxmask.tree import PyTree


def allocate(
    tree: PyTree, density: Any, scope: str = "global", axes: Stated = ()
) -> np.ndarray | jax.Array:
    """The exact number of weights that a density keeps.

    - `"global"`: one count for the whole tree.
    - `"layer"`: one count per layer, all at the same density.
    - `"erk"`: one count per layer, Erdos-Renyi-kernel (Evci et al. 2020,
      https://arxiv.org/abs/1911.11134): layer `l` keeps `eps * sum(shape_l)` of its
      `prod(shape_l)` weights, no more than all of them; `eps` is such that the counts add up to
      the `"global"` count. A vector counts as a kernel of one axis, a scalar as size 1. What is
      left by rounding down goes to the layers with the largest remainders.

    A leaf is one layer, unless it is a stack of them.

    Args:
      tree: arrays or anything else with shapes.
      density: share of weights kept, in (0, 1]. A number, `Fraction` or `Decimal` is read in
        decimal, `Fraction(str(density))`, on the host. A traced density (under `jit`, `vmap`) is
        clipped to [0, 1] and counted on the device in float32 precision: exact if the decimal it
        stands for gives a whole number of up to 2^22 weights, otherwise too low by at most one,
        plus one for every 2^22 kept; with `"erk"` the counts add up to the `"global"` count, each
        accurate to float32's precision.
      scope: one of the three.
      axes: what the axes of leaves mean, where it is not guessed; see `mask.describe`.

    Returns:
      int32, shape () for `"global"`, (layers,) in the order of `jax.tree.leaves` otherwise; a
      NumPy array unless the density is traced.

    Raises:
      InputError: if the density is not in (0, 1] or the scope unknown, for a leaf that may be one
        layer or several, or if 2^31 weights or more compete: of the tree with `"global"` (or a
        traced density and `"erk"`), else of one layer.

    Example:
      >>> mask.allocate({"a": jnp.ones(10), "b": jnp.ones(5)}, 0.3, "layer").tolist()
      [3, 2]
    """
    check_scope(scope)
    layers = layers_by_scope(tree, scope, axes)
    shapes = shapes_of_layers(jax.tree.leaves(tree), layers)
    sizes = [math.prod(shape) for shape in shapes]
    require_countable(tree, layers, scope)
    if isinstance(density, jax.core.Tracer):
        return _traced(density, shapes, sizes, scope)
    exact = check_density(density)
    if scope == "layer":
        return np.array([_kept(exact, size) for size in sizes], np.int32)
    total = _kept(exact, sum(sizes))
    if scope == "global":
        return np.array(total, np.int32)
    return np.array(_erk(total, shapes, sizes), np.int32)


def _kept(density: Fraction, size: int) -> int:
    return size - math.floor((1 - density) * size)


def _erk_units(shapes: list[tuple[int, ...]]) -> list[int]:
    """sum(shape): the count of a leaf is proportional to it until the leaf is full."""
    return [sum(shape) if shape else 1 for shape in shapes]


def _erk(total: int, shapes: list[tuple[int, ...]], sizes: list[int]) -> list[int]:
    units = _erk_units(shapes)
    full: set[int] = set()
    while True:
        rest = [leaf for leaf in range(len(sizes)) if leaf not in full]
        left = total - sum(sizes[leaf] for leaf in full)
        eps = Fraction(left, max(sum(units[leaf] for leaf in rest), 1))
        over = {leaf for leaf in rest if eps * units[leaf] > sizes[leaf]}
        # A full leaf passes its surplus on, eps grows, and others may fill up in turn.
        if not over:
            break
        full |= over
    ideal = [Fraction(sizes[i]) if i in full else eps * units[i] for i in range(len(sizes))]
    counts = [math.floor(share) for share in ideal]
    remainders = sorted(range(len(sizes)), key=lambda leaf: counts[leaf] - ideal[leaf])
    for leaf in remainders[: total - sum(counts)]:
        counts[leaf] += 1
    return counts


def _traced(
    density: jax.Array, shapes: list[tuple[int, ...]], sizes: list[int], scope: str
) -> jax.Array:
    if density.ndim or not jnp.issubdtype(density.dtype, jnp.floating):
        raise InputError(
            f"a traced density of shape {density.shape} and dtype {density.dtype}; "
            "give one floating-point number"
        )
    if scope == "layer":
        return _traced_kept(density, np.array(sizes, np.uint32))
    if sum(sizes) >= 2**31:
        raise InputError(
            f"a traced density of {sum(sizes)} weights; {scope!r} counts fewer than 2^31 "
            "under jit: give a number, or scope='layer'"
        )
    total = _traced_kept(density, np.array(sum(sizes), np.uint32))
    if scope == "global" or not sizes:
        return total
    # eps is piecewise linear in the total; it bends where a leaf fills up.
    units, size = np.array(_erk_units(shapes), float), np.array(sizes, float)
    bends = np.unique(np.append(size / np.maximum(units, 1), 0.0))
    totals = np.minimum(size, bends[:, None] * units).sum(axis=1)
    eps = jnp.interp(total.astype(jnp.float32), totals, bends)
    ideal = jnp.minimum(eps * units.astype(eps.dtype), size.astype(eps.dtype))
    # Rounded down with a margin for float32, so what is left to distribute is never negative:
    # one each by the largest remainder, then what float32 lost wherever there is room.
    counts = jnp.floor(ideal * (1 - 2.0**-20)).astype(jnp.int32)
    rank = jnp.argsort(jnp.argsort(counts.astype(ideal.dtype) - ideal))
    room = np.array(sizes, np.int32) - counts
    more = (rank < total - jnp.sum(counts)) & (room > 0)
    counts, room = counts + more.astype(jnp.int32), room - more.astype(jnp.int32)
    return counts + jnp.clip(total - jnp.sum(counts) - jnp.cumsum(room) + room, 0, room)


def _traced_kept(density: jax.Array, size: np.ndarray) -> jax.Array:
    """ceil(density * size) without 64-bit integers, forgiving the density's last bit.

    The density in units of 2^-32, times the size, shifted right by 32: schoolbook multiplication
    of 16-bit halves in uint32. One unit in the last place of a float32 density is subtracted
    first, because the decimal that it stands for may be just below it.
    """
    units = jnp.maximum((density.astype(jnp.float32) * 2.0**32).astype(jnp.uint32), 1)
    units = units - (units >> 24) - 1
    high, low = units >> 16, units & 0xFFFF
    size_high, size_low = size >> 16, size & 0xFFFF
    middle = high * size_low + (low * size_low >> 16)
    cross = low * size_high + (middle & 0xFFFF)
    floor = high * size_high + (middle >> 16) + (cross >> 16)
    kept = jnp.where(density >= 1, size, jnp.minimum(floor + 1, size))
    return jnp.where(density > 0, kept, 0).astype(jnp.int32)
