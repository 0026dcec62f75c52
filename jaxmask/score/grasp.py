"""GraSP: how much of the gradient flow depends on each weight."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxmask.precision import widened
from jaxmask.score import hessian
from jaxmask.score.batches import average
from jaxmask.sharding import like
from jaxmask.tree import PyTree


def grasp(
    loss: Callable[..., jax.Array], batch_size: int | None = None, absolute: bool = False
) -> Callable[..., PyTree]:
    """`s = w * (H g)`, with the gradient g and the Hessian H of the same loss on the same batch.

    To first order, removing w changes `|g|^2` by `-2 w * (H g)`: a weight with a high score
    carries gradient, one with a negative score hinders it and is pruned first. The paper's own
    score is `-w * (H g)` and removes the highest.

    Source: Wang, Zhang, Grosse, Picking winning tickets before training by preserving gradient
    flow, 2020, https://arxiv.org/abs/2002.07376. Its code divides the logits by a temperature of
    200 before the loss; that is a different loss here, and gives a different ranking.

    Args:
      loss: (w, *batch) -> scalar, a mean over axis 0 of the batch.
      batch_size: examples per derivative computation; does not change the scores.
      absolute: `|w * (H g)|`, which keeps what changes the flow in either direction.

    Returns:
      A scorer (w, *batch) -> scores of the shapes of `w`, in float32 or wider.

    Raises:
      InputError: when called without data.

    Example:
      >>> loss = lambda w, x: jnp.mean((x @ w["w"]) ** 2)
      >>> score.grasp(loss)({"w": jnp.array([1.0, -3.0])}, jnp.eye(2))["w"].tolist()
      [1.0, 9.0]
    """
    gradient = average(jax.grad(loss), batch_size, "grasp")
    multiply = hessian.product(loss)

    @jax.jit
    def scores(w: PyTree, *batch: Any) -> PyTree:
        g = gradient(w, *batch)
        curved = average(lambda w, *piece: multiply(w, g, *piece), batch_size, "grasp")
        flow = jax.tree.map(lambda w, h: widened(w) * h, w, curved(w, *batch))
        return like(w, jax.tree.map(jnp.abs, flow) if absolute else flow)

    return scores
