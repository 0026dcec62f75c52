"""Applies stored masks to their frozen weights."""

from collections.abc import Callable

import jax

from jaxmask.mask.check import refuse_signs
from jaxmask.mask.transform import rescaled
from jaxmask.tree import PyTree, combine, matched


def restore(
    weights: PyTree, masks: PyTree, put: Callable[[PyTree, PyTree], PyTree] = rescaled
) -> PyTree:
    """The weights with stored masks applied; leaves without a mask are unchanged.

    Args:
      weights: any tree; the result has its structure.
      masks: a tree of bool, {0, 1} or {-1, 1} with some of the paths of `weights`, such as the
        nested dict that `maskfile.load` returns.
      put: how to apply masks, a transform's `put`: `mask.rescaled` divides by `sqrt(mean(m))`, as
        `threshold` and `top_k` do by default; `mask.unscaled` does not, and is the one for signs.

    Raises:
      InputError: a mask for a leaf that `weights` lacks or that has another shape; masks of signs
        (known, not traced) that would be rescaled.

    Example:
      >>> weights = {"w": jnp.array([3.0, 5.0, 5.0, 5.0]), "bias": jnp.ones(1)}
      >>> kept = {"w": jnp.array([True, False, False, False])}
      >>> mask.restore(weights, kept)["w"].tolist()
      [6.0, 0.0, 0.0, 0.0]
    """
    if getattr(put, "func", put) is rescaled:  # with axes, it is a partial
        refuse_signs(masks, "which are not rescaled; use put=mask.unscaled")
    on = matched(weights, masks, "the masks")
    under = jax.tree.map(lambda m, w: None if m is None else w, on, weights, is_leaf=_is_hole)
    rest = jax.tree.map(lambda m, w: w if m is None else None, on, weights, is_leaf=_is_hole)
    return combine(rest, put(on, under))


def _is_hole(node: object) -> bool:
    return node is None
