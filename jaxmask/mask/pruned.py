"""Pruned weights: zero where the mask is off."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxmask.mask.check import refuse_signs
from jaxmask.tree import PyTree, some


def pruned(masks: PyTree, weights: PyTree) -> PyTree:
    """`w` where the mask is on, exactly 0 where it is off, whatever `w` is there.

    The gradient is 0 there too. So a weight that is off, and stored as 0, stays 0 for SGD, Adam,
    AdamW and every other optimizer that moves a weight only by its own gradient, moments and
    value, as long as its moments are 0 there. Those from before pruning are not: clear them by
    `mask.clear_moments`, or they move the stored value (which `pruned` hides). Weight decay alone
    moves a stored value towards 0. Noise, centralized gradients, or updates that mix weights (Muon,
    Shampoo) move it always: then apply `pruned` to the stored weights after each step.

    Args:
      masks: a tree of bool (or {0, 1}) with some of the paths of `weights`, such as the nested dict
        that `maskfile.load` returns; a leaf without a mask is kept whole.
      weights: any tree; the result has its structure.

    Raises:
      InputError: a mask for a leaf that `weights` lacks or that has another shape; masks of signs
        (known, not traced).

    Example:
      >>> masks = {"kernel": jnp.array([True, False]), "bias": None}
      >>> found = mask.pruned(masks, {"kernel": jnp.array([3.0, jnp.inf]), "bias": jnp.ones(1)})
      >>> jax.tree.map(lambda leaf: leaf.tolist(), found)
      {'bias': [1.0], 'kernel': [3.0, 0.0]}
    """
    refuse_signs(masks, "which prune nothing; put them on by mask.unscaled")
    leaves, structure = jax.tree.flatten(weights)

    def leaf(mask: Any, weight: Any) -> Any:
        return weight if mask is None else jnp.where(mask, weight, 0)

    return jax.tree.unflatten(structure, map(leaf, some(weights, masks, "the masks"), leaves))
