"""Fisher: the curvature of the loss, estimated from per-example gradients."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxmask.precision import widened
from jaxmask.score.batches import average
from jaxmask.sharding import like, shares_axes, whole
from jaxmask.tree import PyTree


def fisher(loss: Callable[..., jax.Array], batch_size: int = 32) -> Callable[..., PyTree]:
    """`s = w^2 * mean_n (dL_n/dw)^2`, with the loss L_n of example n alone.

    The mean of squared per-example gradients is the diagonal of the empirical Fisher matrix, so
    `s` is twice the change of the loss that removing w causes, to the extent that this matrix
    approximates the Hessian.

    Source: Theis, Korshunova, Tejani, Huszar, Faster gaze prediction with dense networks and
    Fisher pruning, 2018, https://arxiv.org/abs/1801.05787.

    Args:
      loss: (w, *batch) -> scalar, a mean over axis 0 of the batch; it is called with batches of
        one example, so the network must be in eval mode.
      batch_size: examples whose gradients are held at a time, each as large as the weights; does
        not change the scores.

    Returns:
      A scorer (w, *batch) -> scores of the shapes of `w`, in float32 or wider.

    Raises:
      InputError: when called without data.

    Example:
      >>> loss = lambda w, x: jnp.mean(x @ w["w"])
      >>> w, x = {"w": jnp.array([1.0, 2.0])}, jnp.array([[1.0, 0.0], [3.0, 1.0]])
      >>> score.fisher(loss)(w, x)["w"].tolist()
      [5.0, 2.0]
    """

    def squares(w: PyTree, *batch: Any) -> PyTree:
        def of_one(*example: Any) -> PyTree:
            alone = jax.tree.map(lambda x: x[None], example)
            return jax.tree.map(lambda g: jnp.square(widened(g)), jax.grad(loss)(w, *alone))

        each = jax.vmap(of_one)(*(jax.tree.map(whole, batch) if shares_axes(w, batch) else batch))
        return jax.tree.map(lambda leaf: leaf.mean(axis=0), each)

    mean_squares = average(squares, batch_size, "fisher")

    @jax.jit
    def scores(w: PyTree, *batch: Any) -> PyTree:
        found = mean_squares(w, *batch)
        return like(w, jax.tree.map(lambda w, f: jnp.square(widened(w)) * f, w, found))

    return scores
