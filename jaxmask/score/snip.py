"""SNIP: how sensitive the loss is to each connection."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxmask.precision import total, widened
from jaxmask.score.batches import average
from jaxmask.sharding import like
from jaxmask.tree import PyTree


def snip(loss: Callable[..., jax.Array], batch_size: int | None = None) -> Callable[..., PyTree]:
    """`s = |w * dL/dw| / sum |w * dL/dw|`, the connection sensitivity; the sum is over the tree.

    `w * dL/dw` is the derivative of the loss with respect to a factor c = 1 on each weight.
    Scores that are zero everywhere stay zero.

    Source: Lee, Ajanthan, Torr, SNIP: single-shot network pruning based on connection
    sensitivity, 2019, https://arxiv.org/abs/1810.02340.

    Args:
      loss: (w, *batch) -> scalar, a mean over axis 0 of the batch.
      batch_size: examples per gradient computation; does not change the scores.

    Returns:
      A scorer (w, *batch) -> scores of the shapes of `w`, in float32 or wider.

    Raises:
      InputError: when called without data.

    Example:
      >>> loss = lambda w, x: jnp.mean(x @ w["w"])
      >>> score.snip(loss)({"w": jnp.array([1.0, -3.0])}, jnp.ones((5, 2)))["w"].tolist()
      [0.25, 0.75]
    """
    gradient = average(jax.grad(loss), batch_size, "snip")

    @jax.jit
    def scores(w: PyTree, *batch: Any) -> PyTree:
        sensitivity = jax.tree.map(lambda w, g: jnp.abs(widened(w) * g), w, gradient(w, *batch))
        whole = total(jax.tree.leaves(sensitivity))
        divisor = jnp.where(whole == 0, 1, whole)
        return like(w, jax.tree.map(lambda leaf: leaf / divisor.astype(leaf.dtype), sensitivity))

    return scores
