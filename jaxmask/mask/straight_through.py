"""The straight-through estimator: a hard mask forward, the identity backward."""

import jax
import jax.numpy as jnp

from jaxmask.errors import InputError


@jax.custom_vjp
def _estimate(scores: jax.Array, hard: jax.Array) -> jax.Array:
    return hard.astype(scores.dtype)


def _forward(scores: jax.Array, hard: jax.Array) -> tuple[jax.Array, None]:
    # Through the estimator itself, so that second derivatives are straight-through as well.
    return _estimate(scores, hard), None


def _backward(_: None, gradient: jax.Array) -> tuple[jax.Array, None]:
    # None is the zero cotangent of `hard`, of whatever type that takes (float0 for a bool).
    return gradient, None


_estimate.defvjp(_forward, _backward)


def straight_through(scores: jax.Array, hard: jax.Array) -> jax.Array:
    """The hard mask, differentiated as if it were the scores.

    Forward `m = hard`; backward `dL/ds := dL/dm` and `dL/dhard := 0`, so an optimizer of the
    scores sees the gradient that the mask would get (straight-through, Bengio et al. 2013,
    https://arxiv.org/abs/1308.3432).

    Args:
      scores: a floating-point array.
      hard: the mask made of them, of the same shape and any dtype.

    Returns:
      `hard` in the dtype of `scores`.

    Raises:
      InputError: if the shapes differ or `scores` is not floating point.

    Example:
      >>> s = jnp.array([-1.0, 2.0])
      >>> jax.grad(lambda s: jnp.sum(3 * mask.straight_through(s, s > 0)))(s).tolist()
      [3.0, 3.0]
    """
    scores, hard = jnp.asarray(scores), jnp.asarray(hard)
    if not jnp.issubdtype(scores.dtype, jnp.floating):
        raise InputError(f"straight_through: scores are {scores.dtype}; give floating point")
    if scores.shape != hard.shape:
        raise InputError(
            f"straight_through: scores have shape {scores.shape}, the hard mask {hard.shape}; "
            "give one bit per score"
        )
    return _estimate(scores, hard)
