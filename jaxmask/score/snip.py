"""SNIP: how sensitive the loss is to each connection."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxmask.precision import total, widened
from jaxmask.score.batches import average
from jaxmask.sharding import like
from jaxmask.tree import PyTree, aligned


def snip(
    loss: Callable[..., jax.Array], batch_size: int | None = None, origin: PyTree | None = None
) -> Callable[..., PyTree]:
    """`s = |w * dL/dw| / sum |w * dL/dw|`, the connection sensitivity; the sum is over the tree.

    `w * dL/dw` is the derivative of the loss with respect to a factor c = 1 on each weight.
    Scores that are zero everywhere stay zero.

    In many shots, with pruned weights `w = w_0 c`, the derivative with respect to c is
    `w_0 * dL/dw`, with the original weight and the gradient at the pruned ones. It is not zero
    where c = 0: with `origin=w_0`, pruned weights have scores too, and come back if these are high
    enough, `prune.multi_shot(score.snip(loss, origin=w), ..., monotone=False)(w, *batch)`. So does
    the code of the comparison by Tanaka et al. (2020, https://arxiv.org/abs/2006.05467).

    Source: Lee, Ajanthan, Torr, SNIP: single-shot network pruning based on connection
    sensitivity, 2019, https://arxiv.org/abs/1810.02340.

    Args:
      loss: (w, *batch) -> scalar, a mean over axis 0 of the batch.
      batch_size: examples per gradient computation; does not change the scores.
      origin: the weights before pruning, a tree with the paths of `w`; None takes `w` itself.

    Returns:
      A scorer (w, *batch) -> scores of the shapes of `w`, in float32 or wider.

    Raises:
      InputError: when called without data, or if `origin` has other paths or shapes than `w`.

    Example:
      >>> loss = lambda w, x: jnp.mean(x @ w["w"])
      >>> score.snip(loss)({"w": jnp.array([1.0, -3.0])}, jnp.ones((5, 2)))["w"].tolist()
      [0.25, 0.75]
    """
    gradient = average(jax.grad(loss), batch_size, "snip")

    @jax.jit
    def scores(w: PyTree, *batch: Any) -> PyTree:
        factors = w if origin is None else aligned(w, origin, "origin")
        gradients = gradient(w, *batch)
        sensitivity = jax.tree.map(lambda w, g: jnp.abs(widened(w) * g), factors, gradients)
        whole = total(jax.tree.leaves(sensitivity))
        divisor = jnp.where(whole == 0, 1, whole)
        return like(w, jax.tree.map(lambda leaf: leaf / divisor.astype(leaf.dtype), sensitivity))

    return scores
