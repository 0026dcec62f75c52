"""Magnitude: large weights stay."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxmask.sharding import like
from jaxmask.tree import PyTree


def magnitude() -> Callable[..., PyTree]:
    """`s = |w|`.

    Source: Han, Pool, Tran, Dally, Learning both weights and connections for efficient neural
    networks, 2015, https://arxiv.org/abs/1506.02626.

    Returns:
      A scorer (w, *batch) -> scores of the shapes and dtypes of `w`; the batch is not used.

    Example:
      >>> score.magnitude()({"w": jnp.array([-3.0, 2.0])})["w"].tolist()
      [3.0, 2.0]
    """

    @jax.jit
    def scores(w: PyTree, *batch: Any) -> PyTree:
        del batch
        return like(w, jax.tree.map(jnp.abs, w))

    return scores
