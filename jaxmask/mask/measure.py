"""Measures of masks: density, overlap, distance.

Masks are bool, {0, 1} or {-1, 1}; a weight is on where its mask is > 0. Counts are integers
throughout, so they are exact, however large the tree. Outside `jit` the results are Python numbers,
inside it (or `vmap`) they are JAX scalars.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp

from jaxmask.errors import InputError
from jaxmask.mask.axes import Stated, certain_layers
from jaxmask.mask.stack import unstacked
from jaxmask.mask.total import WORD, Total, number, together, total
from jaxmask.tree import PyTree, align, named_leaves


def density(masks: PyTree) -> Any:
    """The share of weights that are on, `sum(m > 0) / N` over the whole tree; 1 if N = 0.

    Example:
      >>> mask.measure.density({"a": jnp.array([1, 0, 0]), "b": jnp.array([True])})
      0.5
    """
    leaves = jax.tree.leaves(masks)
    return _share(_count([_on(leaf) for leaf in leaves]), sum(map(_size, leaves)))


def density_by_leaf(masks: PyTree, axes: Stated = ()) -> dict[str, Any]:
    """The density of every leaf by its path; 1 for a leaf without weights.

    A leaf of stacked layers has an entry for each, `path[0]`, `path[1]`, ..., unless it may be one
    layer as well.

    Args:
      masks: any tree of masks.
      axes: what the axes of leaves mean, where it is not guessed; see `mask.describe`.

    Raises:
      InputError: if two leaves share a path.

    Example:
      >>> mask.measure.density_by_leaf({"a": jnp.array([1, 0]), "b": jnp.array([-1, -1])})
      {'a': 0.5, 'b': 0.0}
    """
    layers = _by_layer(masks, axes)
    counts = _counts([_on(layer) for layer in layers.values()])
    return {path: _share(count, _size(bits)) for (path, bits), count in zip(layers.items(), counts)}


def overlap(a: PyTree, b: PyTree) -> Any:
    """Jaccard's index `|a & b| / |a | b|` of the weights that are on; 1 if both are empty.

    Raises:
      InputError: if structures or shapes differ.

    Example:
      >>> mask.measure.overlap({"w": jnp.array([1, 1, 0])}, {"w": jnp.array([1, 0, 0])})
      0.5
    """
    pairs = _pairs(a, b)
    return _share(_count([x & y for x, y in pairs]), _count([x | y for x, y in pairs]))


def hamming(a: PyTree, b: PyTree) -> Any:
    """The number of weights that are on in one of two masks and off in the other.

    Inside `jit` or `vmap` it is int32, or int64 where the number of weights requires it.

    Raises:
      InputError: if structures or shapes differ; inside `jit` for 2^31 weights or more, unless
        JAX has 64-bit integers.

    Example:
      >>> mask.measure.hamming({"w": jnp.array([1, 1, 0])}, {"w": jnp.array([1, 0, 1])})
      2
    """
    different = [x != y for x, y in _pairs(a, b)]
    found = _count(different)
    if not isinstance(found, Total):
        return found
    size = sum(map(_size, different))
    if size < 2**31:
        return found.low.astype(jnp.int32)
    if jnp.result_type(int) != jnp.int64:
        raise InputError(
            f"hamming of {size} weights inside jit, of which int32 can count fewer than 2^31; "
            "call it outside, or set jax_enable_x64"
        )
    return (found.high.astype(jnp.int64) << 32) + found.low


def empty_leaves(masks: PyTree, axes: Stated = ()) -> list[str]:
    """The paths of the leaves whose weights are all off; not of leaves without weights.

    Of a leaf of stacked layers, the empty ones, as `path[2]`; see `density_by_leaf`.

    Masks must not be traced, as the result is a list.

    Raises:
      InputError: if two leaves share a path.

    Example:
      >>> mask.measure.empty_leaves({"a": jnp.array([1, 0]), "b": jnp.array([0, 0])})
      ['b']
    """
    layers = _by_layer(masks, axes)
    counts = _counts([_on(layer) for layer in layers.values()])
    return [
        path
        for (path, layer), count in zip(layers.items(), counts)
        if int(count) == 0 and _size(layer) > 0
    ]


def _by_layer(masks: PyTree, axes: Stated) -> dict[str, Any]:
    """The leaves by path, and in place of stacked layers each of them."""
    found: dict[str, Any] = {}
    for (path, leaf), stacked in zip(named_leaves(masks).items(), certain_layers(masks, axes)):
        if stacked:
            layers = enumerate(unstacked([leaf], [stacked]))
            found |= {f"{path}[{index}]": layer for index, layer in layers}
        else:
            found[path] = leaf
    return found


def _on(mask: Any) -> jax.Array:
    mask = jnp.asarray(mask)
    return mask if mask.dtype == bool else mask > 0


def _size(mask: Any) -> int:
    return math.prod(jnp.shape(mask))


def _pairs(a: PyTree, b: PyTree) -> list[tuple[jax.Array, jax.Array]]:
    others = align(a, b, "the second masks")
    return [(_on(x), _on(y)) for x, y in zip(jax.tree.leaves(a), others)]


def _count(bits: list[jax.Array]) -> Any:
    """The bits set in all arrays: a Python integer, or a Total if any is traced."""
    counts = _counts(bits)
    if any(isinstance(count, Total) for count in counts):
        return together(counts)
    return sum(counts)


def _counts(bits: list[jax.Array]) -> list[Any]:
    """The bits set in each array: Python integers, or Totals if any is traced."""
    counts = [total(leaf, leaf.size) for leaf in bits]
    if any(isinstance(count.low, jax.core.Tracer) for count in counts):
        return counts
    return [int(high) * WORD + int(low) for high, low in jax.device_get(counts)]


def _share(count: Any, size: Any) -> Any:
    """count / size, and 1 for 0 / 0."""
    count, size = (number(x) if isinstance(x, Total) else x for x in (count, size))
    if isinstance(size, jax.core.Tracer):
        return jnp.where(size == 0, 1.0, count / jnp.maximum(size, 1))
    return count / float(size) if size else 1.0
