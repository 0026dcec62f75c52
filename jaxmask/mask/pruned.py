"""Pruned weights: zero where the mask is off."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxmask.mask.check import refuse_signs
from jaxmask.tree import PyTree, some


def pruned(masks: PyTree, weights: PyTree) -> PyTree:
    """`w` where the mask is on, exactly 0 where it is off, whatever `w` is there.

    The gradient is 0 there too, so what is stored there stays as it is under SGD, Adam and every
    other optimizer that moves a weight only by its own gradient and moments. Two things move it,
    which `pruned` hides: moments from before pruning, until `mask.clear_moments` clears them; and
    weight decay (AdamW), towards 0, so that a stored 0 stays. Under noise, centralized gradients
    or updates that mix weights (Muon, Shampoo) it always moves: store `pruned` weights after each
    step.

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
