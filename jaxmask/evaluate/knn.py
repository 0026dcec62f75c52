"""Weighted k-nearest neighbours, exact, in blocks on the device."""

from functools import partial

import jax
import jax.numpy as jnp

BLOCK = 1024  # queries, and training examples, whose similarities are computed together


@partial(jax.jit, static_argnames=("classes", "neighbours", "block"))
def knn(
    features: jax.Array,
    labels: jax.Array,
    queries: jax.Array,
    *,
    classes: int,
    neighbours: int = 200,
    temperature: float | jax.Array = 0.1,
    block: int = BLOCK,
) -> jax.Array:
    """Votes of the most similar training examples: `sum_i exp(cos(q, f_i) / temperature)` by class.

    The sum is over the `neighbours` features with the largest cosine similarity (all of them,
    where there are fewer; ties go to the earlier one), relative to the nearest, so that nothing
    overflows. Wu et al. 2018, https://arxiv.org/abs/1805.01978, with 200 and 0.1 as usual.

    Args:
      features: [N, F], of the training examples.
      labels: int [N] in [0, classes).
      queries: [Q, F].
      temperature: may be traced.
      block: the similarities of so many queries and so many features lie in memory at a time.

    Returns:
      float [Q, classes]; the class of the largest is the answer.

    Example:
      >>> votes = evaluate.knn(features, labels, queries, classes=10)  # doctest: +SKIP
    """
    count, number = min(neighbours, len(features)), len(queries)
    features, queries = _unit(features), _unit(queries)
    rows = min(block, max(len(features), 1))
    pieces = -(-len(features) // rows)
    padding = pieces * rows - len(features)
    index = jnp.arange(pieces * rows).reshape(pieces, rows)
    cut = jnp.pad(features, ((0, padding), (0, 0))).reshape(pieces, rows, -1)

    def of_block(query: jax.Array) -> jax.Array:
        def merge(best: tuple, piece: tuple) -> tuple[tuple, None]:
            rows, numbers = piece
            similarity = jnp.where(numbers < len(features), query @ rows.T, -jnp.inf)
            found = jnp.concatenate([best[0], similarity], axis=1)
            owners = jnp.concatenate([best[1], jnp.broadcast_to(numbers, similarity.shape)], axis=1)
            values, place = jax.lax.top_k(found, count)
            return (values, jnp.take_along_axis(owners, place, axis=1)), None

        start = (
            jnp.full((len(query), count), -jnp.inf, query.dtype),
            jnp.zeros((len(query), count), index.dtype),
        )
        (values, owners), _ = jax.lax.scan(merge, start, (cut, index))
        weights = jnp.exp((values - values[:, :1]) / temperature)
        of = jnp.arange(len(query))[:, None]
        return jnp.zeros((len(query), classes), query.dtype).at[of, labels[owners]].add(weights)

    size = min(block, max(number, 1))
    blocks = -(-number // size)
    padded = jnp.pad(queries, ((0, blocks * size - number), (0, 0)))
    votes = jax.lax.map(of_block, padded.reshape(blocks, size, -1))
    return votes.reshape(blocks * size, classes)[:number]


def _unit(rows: jax.Array) -> jax.Array:
    """Rows of length 1; those of zeros stay, and are similar to nothing."""
    length = jnp.linalg.norm(rows, axis=1, keepdims=True)
    return rows / jnp.where(length > 0, length, 1)
