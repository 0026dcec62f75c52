"""Scores of scores, and scores as weights: compositions of scorers."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

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
        return second(first(w, *batch), *batch)

    return scores


def as_weights(scorer: Scorer) -> Scorer:
    """`sign(w) * |s| / max |s|`: scores as an initialization, in [-1, 1] over the whole tree.

    If all scores are zero, so are the weights.

    Example:
      >>> score.as_weights(score.magnitude())({"w": jnp.array([-3.0, 1.5])})["w"].tolist()
      [-1.0, 0.5]
    """

    def weights(w: PyTree, *batch: Any) -> PyTree:
        scores = jax.tree.map(jnp.abs, aligned(w, scorer(w, *batch), "the scores"))
        peaks = [jnp.max(leaf, initial=0) for leaf in jax.tree.leaves(scores)]
        largest = jnp.max(jnp.stack([*peaks, jnp.asarray(0.0)]))
        divisor = jnp.where(largest == 0, 1.0, largest)
        return jax.tree.map(lambda w, s: jnp.sign(w) * (s / divisor).astype(w.dtype), w, scores)

    return weights
