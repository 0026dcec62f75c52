"""Weighted k-nearest neighbors: a measure of features that learns nothing."""

from functools import partial

import jax
import jax.numpy as jnp

from jaxmask.errors import InputError

EXAMPLES = 64  # times a block of queries, are compared with it at a time


@partial(jax.jit, static_argnames=("classes", "neighbors", "block"))
def knn(
    features: jax.Array,
    labels: jax.Array,
    queries: jax.Array,
    *,
    classes: int,
    neighbors: int = 200,
    temperature: float | jax.Array = 0.1,
    block: int = 256,
) -> jax.Array:
    """For each class the sum of `exp(similarity / temperature)` over the nearest examples of it.

    The similarity is the cosine of the angle between two features; that of a feature that is all
    zero is 0. The neighbors are exact: those most similar of all examples, and of equally similar
    ones the first. The sums are given relative to the nearest neighbor's weight, so they lie in
    [0, neighbors] and none overflows. Wu et al., "Unsupervised feature learning via
    non-parametric instance discrimination", 2018.

    Beside its arguments it takes about `64 * block * (block + F)` numbers, however many examples
    there are, and a copy of the features.

    Args:
      features: [N, F] of the examples.
      labels: [N], integers in [0, classes).
      queries: [Q, F].
      classes: C.
      neighbors: how many vote; all examples where there are fewer.
      temperature: above 0; may be traced, so another one compiles nothing.
      block: how many queries are dealt with at a time.

    Returns:
      [Q, C], float32 or wider; the class of a query is the argmax.

    Raises:
      InputError: the shapes do not fit together, or nobody may vote.

    Example:
      >>> scores = knn(jnp.eye(2), jnp.array([0, 1]), jnp.array([[3.0, 1.0]]), classes=2)
      >>> scores.argmax(-1)
      Array([0], dtype=int32)
    """
    if features.ndim != 2 or labels.shape != features.shape[:1] or not len(features):
        raise InputError(
            f"k-NN: features {features.shape} and labels {labels.shape} do not fit; "
            "give [N, F] and [N]"
        )
    if queries.ndim != 2 or queries.shape[1] != features.shape[1]:
        raise InputError(
            f"k-NN: queries {queries.shape} and features {features.shape} do not fit; "
            "give as many numbers for each"
        )
    if neighbors < 1 or block < 1:
        raise InputError(f"k-NN: {neighbors} neighbors in blocks of {block}; give at least 1")
    features, queries, labels = _unit(features), _unit(queries), labels.astype(jnp.int32)
    count, voters = len(features), min(neighbors, len(features))
    length = min(EXAMPLES * block, count)
    # The last piece begins earlier, not to be shorter: what it repeats is left out.
    wanted = jnp.arange(-(-count // length)) * length
    numbers = jnp.arange(classes)

    def nearest(query: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The voters' similarities and labels, most similar first."""

        def merge(found: tuple, start: jax.Array) -> tuple[tuple, None]:
            begin = jnp.minimum(start, count - length)
            piece = jax.lax.dynamic_slice_in_dim(features, begin, length)
            similar = jnp.matmul(query, piece.T, precision="highest")
            similar = jnp.where(begin + jnp.arange(length) < start, -jnp.inf, similar)
            theirs, places = jax.lax.top_k(similar, min(voters, length))
            # Earlier examples come first, and so win where they are as similar.
            values, chosen = jax.lax.top_k(jnp.concatenate([found[0], theirs]), voters)
            return (values, jnp.concatenate([found[1], labels[begin + places]])[chosen]), None

        nobody = jnp.full(voters, -jnp.inf, queries.dtype), jnp.full(voters, -1)
        return jax.lax.scan(merge, nobody, wanted)[0]

    def votes(query: jax.Array) -> jax.Array:
        similar, theirs = nearest(query)
        weights = jnp.exp((similar - similar[0]) / temperature)
        return jnp.where(theirs[:, None] == numbers, weights[:, None], 0).sum(axis=0)

    return jax.lax.map(votes, queries, batch_size=block)


def _unit(vectors: jax.Array) -> jax.Array:
    vectors = vectors.astype(jnp.promote_types(vectors.dtype, jnp.float32))
    # Without this, the squares of large numbers overflow and those of small ones vanish.
    largest = jnp.abs(vectors).max(axis=1, keepdims=True)
    vectors = vectors / jnp.where(largest > 0, largest, 1)
    length = jnp.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / jnp.where(length > 0, length, 1)
