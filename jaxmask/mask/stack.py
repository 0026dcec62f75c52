"""Stacked layers taken apart, so that each is counted and chosen from alone."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxmask.mask.axes import Stated, layers_of
from jaxmask.tree import PyTree

Layers = list[tuple[int, ...]]


def layers_by_scope(tree: PyTree, scope: str, axes: Stated) -> Layers:
    """The axes of stacked layers of every leaf; none if the whole tree competes."""
    if scope == "global":
        return [()] * len(jax.tree.leaves(tree))
    return layers_of(tree, axes, f"scope {scope!r}")


def shapes_of_layers(leaves: list[Any], layers: Layers) -> list[tuple[int, ...]]:
    """The shape of every layer, leaf by leaf."""
    found = []
    for leaf, stacked in zip(leaves, layers):
        shape = np.shape(leaf)
        one = tuple(length for axis, length in enumerate(shape) if axis not in stacked)
        found += [one] * math.prod(shape[axis] for axis in stacked)
    return found


def unstacked(leaves: list[Any], layers: Layers) -> list[Any]:
    """The layers of every leaf as arrays of their own; a leaf of one layer is left as it is."""
    found = []
    for leaf, stacked in zip(leaves, layers):
        if not stacked:
            found.append(leaf)
            continue
        front = jnp.moveaxis(jnp.asarray(leaf), stacked, range(len(stacked)))
        rows = front.reshape(-1, *front.shape[len(stacked) :])
        found += [rows[index] for index in range(rows.shape[0])]
    return found


def restacked(arrays: list[jax.Array], leaves: list[Any], layers: Layers) -> list[jax.Array]:
    """The inverse of `unstacked`: arrays of the shapes of `leaves`."""
    found, rest = [], iter(arrays)
    for leaf, stacked in zip(leaves, layers):
        if not stacked:
            found.append(next(rest))
            continue
        lengths = [np.shape(leaf)[axis] for axis in stacked]
        rows = [next(rest) for _ in range(math.prod(lengths))]
        if not rows:
            found.append(jnp.zeros(np.shape(leaf), bool))
            continue
        front = jnp.stack(rows).reshape(*lengths, *rows[0].shape)
        found.append(jnp.moveaxis(front, range(len(stacked)), stacked))
    return found
