"""Sinkhorn-Knopp: assigns the examples of a batch to prototypes, each taken equally often."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxmask.loss.check import check_counts, check_positive
from jaxmask.precision import widened


def sinkhorn(scores: jax.Array, epsilon: Any = 0.05, rounds: int = 3) -> jax.Array:
    """Codes `Q = exp(scores / epsilon)`, normalized by turns, first over samples.

    Each round scales each prototype's entries to the sum 1/K, then each sample's to 1/B. At the
    end Q is multiplied by B: a sample's codes sum to 1, a prototype's to about B/K, the more
    exactly the more rounds. A smaller epsilon gives harder codes.
    Computed as logarithms in float32 or wider, so finite for finite scores.

    A constant added to all scores of a prototype changes nothing. One added to all scores of a
    sample does, if the rounds end before all sums are met.

    Source: Caron et al., Unsupervised learning of visual features by contrasting cluster
    assignments, 2020, https://arxiv.org/abs/2006.09882; Cuturi, Sinkhorn distances, 2013.

    Args:
      scores: [..., B, K], floating point; leading axes are problems of their own.
      epsilon: weight of the codes' entropy, above 0; a number or a traced scalar.
      rounds: at least 1.

    Returns:
      [..., B, K], in float32 or wider.

    Raises:
      InputError: epsilon is a number that is not above 0, or rounds is not a whole number of at
        least 1.

    Example:
      >>> scores = jnp.array([[1.0, 0.0], [1.0, 0.0], [0.9, 0.1]])
      >>> print(sinkhorn(scores).round(2))  # the second prototype takes what is nearest to it
      [[0.75 0.25]
       [0.75 0.25]
       [0.05 0.95]]
    """
    check_counts(rounds=rounds)
    if not isinstance(epsilon, jax.Array):
        check_positive(epsilon=epsilon)
    scores = widened(scores)
    limits = jnp.finfo(scores.dtype)
    # The first sum is a prototype's: its own largest score may be taken off before the division.
    logs = scores - jax.lax.stop_gradient(scores.max(axis=-2, keepdims=True))
    logs = jnp.maximum(logs, limits.min)
    logs = logs / jnp.maximum(jnp.asarray(epsilon, logs.dtype), limits.tiny)
    logs = jnp.maximum(logs, limits.min / 64)  # the sums of several such are finite
    for _ in range(rounds):
        logs = jax.nn.log_softmax(logs, axis=-2)
        logs = jax.nn.log_softmax(logs, axis=-1)
    return jnp.exp(logs)
