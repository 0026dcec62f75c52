"""Movement: weights that training moves away from zero stay."""

from collections.abc import Callable
from typing import Any

import jax

from jaxmask.precision import widened
from jaxmask.score.batches import average
from jaxmask.sharding import like
from jaxmask.tree import PyTree


def movement(
    loss: Callable[..., jax.Array], batch_size: int | None = None
) -> Callable[..., PyTree]:
    """`s = -w * dL/dw`: positive where a step of gradient descent moves w away from zero.

    This is the term of one step. Movement pruning sums it over the steps of training, each with
    the weights and the batch of that step (the recipe `lottery` does).

    Source: Sanh, Wolf, Rush, Movement pruning: adaptive sparsity by fine-tuning, 2020,
    https://arxiv.org/abs/2005.07683.

    Args:
      loss: (w, *batch) -> scalar, a mean over axis 0 of the batch.
      batch_size: examples per gradient computation; does not change the scores.

    Returns:
      A scorer (w, *batch) -> scores of the shapes of `w`, in float32 or wider.

    Raises:
      InputError: when called without data.

    Example:
      >>> loss = lambda w, x: jnp.mean(x @ w["w"])
      >>> w, x = {"w": jnp.array([1.0, 2.0])}, jnp.array([[1.0, -3.0]])
      >>> score.movement(loss)(w, x)["w"].tolist()
      [-1.0, 6.0]
    """
    gradient = average(jax.grad(loss), batch_size, "movement")

    @jax.jit
    def scores(w: PyTree, *batch: Any) -> PyTree:
        return like(w, jax.tree.map(lambda w, g: -widened(w) * g, w, gradient(w, *batch)))

    return scores
