"""NAME: what it scores, in one line. Becomes jaxmask/score/NAME.py."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxmask.score.batches import average
from jaxmask.tree import PyTree


def gradient_size(
    loss: Callable[..., jax.Array], batch_size: int | None = None
) -> Callable[..., PyTree]:
    """`s = w^2 |dL/dw|`: the formula first, with the words of the paper.

    Source: authors, title, year, address.

    Args:
      loss: (w, *batch) -> scalar, a mean over axis 0 of the batch.
      batch_size: examples per gradient computation; does not change the scores.

    Returns:
      A scorer (w, *batch) -> scores of the shapes and dtypes of `w`.

    Raises:
      InputError: when called without data.

    Example:
      >>> loss = lambda w, x: jnp.mean(x @ w["w"])
      >>> gradient_size(loss)({"w": jnp.array([1.0, -3.0])}, jnp.ones((5, 2)))["w"].tolist()
      [1.0, 9.0]
    """
    gradient = average(jax.grad(loss), batch_size, "gradient_size")

    @jax.jit
    def scores(w: PyTree, *batch: Any) -> PyTree:
        return jax.tree.map(lambda w, g: w**2 * jnp.abs(g), w, gradient(w, *batch))

    return scores
