"""NAME: what is masked how, in one line. Becomes jaxmask/mask/NAME.py."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxmask.mask.check import require_floating
from jaxmask.mask.initialize import Init, constant
from jaxmask.mask.straight_through import straight_through
from jaxmask.mask.transform import MaskTransform
from jaxmask.tree import PyTree, align


def leaky(
    mu: Any = 0.0,
    rest: float = 0.1,
    init: Init = constant(1.0),  # noqa: B008 (a pure function, safe to share)
) -> MaskTransform:
    """`m = 1[s > mu]`; a weight becomes `theta * (rest + (1 - rest) * m)`.

    Args:
      mu: the threshold, a number or a traced scalar; no gradient flows to it.
      rest: what is left of a weight that is off.
      init: the initial scores.

    Example:
      >>> tx = leaky(rest=0.5)
      >>> tx.apply({"w": jnp.array([-1.0, 1.0])}, {"w": jnp.array([2.0, 2.0])})["w"].tolist()
      [1.0, 2.0]
    """

    def mask(scores: PyTree) -> PyTree:
        require_floating(scores, "scores")
        return jax.tree.map(lambda s: straight_through(s, s > mu), scores)

    def put(masks: PyTree, weights: PyTree) -> PyTree:
        aligned = align(weights, masks, "masks for these weights")
        leaves, structure = jax.tree.flatten(weights)
        found = [w * (rest + (1 - rest) * jnp.asarray(m, w.dtype)) for m, w in zip(aligned, leaves)]
        return jax.tree.unflatten(structure, found)

    return MaskTransform(init, mask, lambda scores, weights: put(mask(scores), weights), put)
