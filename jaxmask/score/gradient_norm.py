"""Gradient norm: weights with large gradients stay."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxmask.score.batches import average
from jaxmask.sharding import like
from jaxmask.tree import PyTree


def gradient_norm(
    loss: Callable[..., jax.Array], batch_size: int | None = None
) -> Callable[..., PyTree]:
    """`s = |dL/dw|`.

    The norm of each weight's gradient, without SNIP's factor |w|; the criterion by which
    RigL grows connections (Evci, Gale, Menick, Castro, Elsen, Rigging the lottery, 2020,
    https://arxiv.org/abs/1911.11134).

    Args:
      loss: (w, *batch) -> scalar, a mean over axis 0 of the batch.
      batch_size: examples per gradient computation; does not change the scores.

    Returns:
      A scorer (w, *batch) -> scores of the shapes of `w`, in float32 or wider.

    Raises:
      InputError: when called without data.

    Example:
      >>> loss = lambda w, x: jnp.mean(x @ w["w"])
      >>> w, x = {"w": jnp.zeros(2)}, jnp.array([[1.0, -3.0]])
      >>> score.gradient_norm(loss)(w, x)["w"].tolist()
      [1.0, 3.0]
    """
    gradient = average(jax.grad(loss), batch_size, "gradient_norm")

    @jax.jit
    def scores(w: PyTree, *batch: Any) -> PyTree:
        return like(w, jax.tree.map(jnp.abs, gradient(w, *batch)))

    return scores
