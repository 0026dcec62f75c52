"""Pruned weights: zero where the mask is off."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxmask.tree import PyTree


def pruned(masks: PyTree, weights: PyTree) -> PyTree:
    """`w` where the mask is on, exactly 0 where it is off, whatever `w` is there.

    The gradient is 0 there too, so that no optimizer can bring the weights back.

    Args:
      masks: a tree of bool (or {0, 1}) of the structure of `weights`; None keeps a whole leaf.
      weights: a tree of arrays.

    Example:
      >>> masks = {"kernel": jnp.array([True, False]), "bias": None}
      >>> found = mask.pruned(masks, {"kernel": jnp.array([3.0, jnp.inf]), "bias": jnp.ones(1)})
      >>> jax.tree.map(lambda leaf: leaf.tolist(), found)
      {'bias': [1.0], 'kernel': [3.0, 0.0]}
    """

    def leaf(mask: Any, weight: Any) -> Any:
        return weight if mask is None else jnp.where(mask, weight, 0)

    return jax.tree.map(leaf, masks, weights, is_leaf=lambda node: node is None)
