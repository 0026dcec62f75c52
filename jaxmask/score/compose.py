"""Scores of scores, and scores as weights: compositions of scorers."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxmask.precision import common, widened
from jaxmask.sharding import like
from jaxmask.tree import PyTree, aligned

Scorer = Callable[..., PyTree]


def stack(first: Scorer, second: Scorer) -> Scorer:
    """`s = second(first(w))`: the second criterion, with the first one's scores as weights.

    Apply the mask made from these scores to the original weights.

    Example:
      >>> squared = score.stack(score.magnitude(), lambda w: jax.tree.map(jnp.square, w))
      >>> squared({"w": jnp.array([-3.0, 2.0])})["w"].tolist()
      [9.0, 4.0]
    """

    def scores(w: PyTree, *batch: Any) -> PyTree:
        return like(w, second(first(w, *batch), *batch))

    return scores


def as_weights(scorer: Scorer) -> Scorer:
    """`sign(w) * |s| / max |s|`: scores as an initialization, in [-1, 1] over the whole tree.

    If all scores are zero, so are the weights.

    Example:
      >>> score.as_weights(score.magnitude())({"w": jnp.array([-3.0, 1.5])})["w"].tolist()
      [-1.0, 0.5]
    """

    def weights(w: PyTree, *batch: Any) -> PyTree:
        found = aligned(w, scorer(w, *batch), "the scores")
        scores = jax.tree.map(lambda s: jnp.abs(widened(s)), found)
        leaves = jax.tree.leaves(scores)
        peaks = [jnp.max(leaf, initial=0).astype(common(leaves)) for leaf in leaves]
        largest = jnp.max(jnp.stack(peaks), initial=0) if peaks else 0
        divisor = jnp.where(largest == 0, 1, largest)

        def scaled(w: jax.Array, s: jax.Array) -> jax.Array:
            return jnp.sign(w) * (s / divisor.astype(s.dtype)).astype(w.dtype)

        return like(w, jax.tree.map(scaled, w, scores))

    return weights
