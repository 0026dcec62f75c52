"""Random scores: the baseline that a criterion has to beat."""

from collections.abc import Callable
from typing import Any

import jax

from jaxmask.mask import normal
from jaxmask.tree import PyTree


def random(key: jax.Array) -> Callable[..., PyTree]:
    """`s ~ N(0, 1)`, independent of the weights and of each other.

    The same key gives the same scores at every call, so pruning in many shots keeps the same
    weights as in one shot.

    Args:
      key: each leaf draws from a key of its own, derived from this one and the leaf's path.

    Returns:
      A scorer (w, *batch) -> scores of the shapes of `w`; only the shapes of `w` are used.

    Raises:
      InputError: when called, for a leaf that is not floating point.

    Example:
      >>> score.random(jax.random.key(0))({"w": jnp.ones((2, 3))})["w"].shape
      (2, 3)
    """

    def scores(w: PyTree, *batch: Any) -> PyTree:
        del batch
        return normal()(key, w)

    return scores
