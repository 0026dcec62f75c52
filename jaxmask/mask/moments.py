"""The moments of pruned weights."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxmask.errors import InputError
from jaxmask.tree import PyTree, has_leaves_at, is_floating, matched, named_leaves, paths


def clear_moments(masks: PyTree, state: PyTree, weights: PyTree) -> PyTree:
    """An optimizer state with 0 for every weight that is off: momentum, moments, averages.

    For networks that are pruned during training: what the optimizer remembers of a weight from
    before would move its stored value.

    Entries are found by their paths, as optax makes them: a part of the state whose leaves have
    the paths of the weights (the `trace` of momentum, Adam's `mu` and `nu`, accumulated gradients,
    averaged weights), however deep in chains, `masked`, `partition`, `inject_hyperparams` or
    `MultiSteps`; leading axes more than the weight's, such as L-BFGS's memory, are kept. All
    else (counts, rates, factored moments) stays as it is.

    Args:
      masks: a tree of bool (or {0, 1}) with some of the paths of `weights`, as for `mask.pruned`.
      state: what `optimizer.init(weights)` made, or later updates.
      weights: the tree that the optimizer was initialized with, or any with its paths and shapes.

    Returns:
      A tree of the structure of `state`, in its dtypes.

    Raises:
      InputError: a mask for a leaf that `weights` lacks or that has another shape; a state with
        floating-point arrays, but no part with the paths of these weights.

    Example:
      >>> import optax
      >>> w, keep = {"w": jnp.array([1.0, 0.0])}, {"w": jnp.array([True, False])}
      >>> optimizer = optax.sgd(0.1, momentum=0.9)
      >>> _, state = optimizer.update({"w": jnp.ones(2)}, optimizer.init(w))
      >>> mask.clear_moments(keep, state, w)[0].trace["w"].tolist()
      [1.0, 0.0]
    """
    on = named_leaves(matched(weights, masks, "the masks"))
    wanted, found = set(paths(weights)), []

    def cleared(node: Any) -> Any:
        if has_leaves_at(node, wanted):
            found.append(node)
            leaves, structure = jax.tree.flatten(node)
            pairs = zip(paths(node), leaves)
            return jax.tree.unflatten(structure, [_off(on.get(path), leaf) for path, leaf in pairs])
        children, structure = jax.tree.flatten(node, is_leaf=lambda child: child is not node)
        if jax.tree_util.treedef_is_leaf(structure):
            return node
        return jax.tree.unflatten(structure, map(cleared, children))

    result = cleared(state)
    if on and not found and any(map(_is_array, jax.tree.leaves(state))):
        raise InputError(
            "clear_moments: the optimizer state has arrays, but no part with the paths of these "
            f"weights ({', '.join(map(repr, [*on][:3]))}); give the weights that the optimizer was "
            "initialized with, and no optimizer that flattens them"
        )
    return result


def _is_array(leaf: Any) -> bool:
    return is_floating(leaf) and np.ndim(leaf) > 0


def _off(mask: Any, entry: Any) -> Any:
    if mask is None or not is_floating(entry):
        return entry
    shape = np.shape(mask)
    if entry.shape[len(entry.shape) - len(shape) :] != shape:
        return entry
    return jnp.where(mask, entry, 0)
