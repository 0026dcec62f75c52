"""Weighted k-nearest neighbors: evaluates features without any training."""

from functools import partial

import jax
import jax.numpy as jnp

from jaxmask.errors import InputError
from jaxmask.evaluate.features import unit
from jaxmask.sharding import replicated

EXAMPLES = 64  # per query of a block are compared with the block at a time

Found = tuple[jax.Array, jax.Array]  # similarities and labels of the nearest so far


@partial(jax.jit, static_argnames=("classes", "neighbors", "block"))
@replicated
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
    """For each class, `exp(similarity / temperature)` summed over the nearest examples in it.

    The similarity is the cosine of the angle between two features, 0 if one of them is all zero.
    The neighbors are exact: the most similar of all examples, the first of equally similar ones.
    The sums are relative to the nearest neighbor's weight, so they lie in [0, neighbors] and none
    overflows. Wu et al., "Unsupervised feature learning via
    non-parametric instance discrimination", 2018.

    Besides its arguments it stores a copy of the features and about `64 * block * (block + F)`
    numbers, whatever the number of examples.

    Args:
      features: [N, F] of the examples.
      labels: [N], integers in [0, classes).
      queries: [Q, F].
      classes: C.
      neighbors: how many vote; all examples if there are fewer.
      temperature: above 0; may be traced, so changing it compiles nothing.
      block: how many queries are processed at a time.

    Returns:
      [Q, C], float32 or wider; the class of a query is the argmax.

    Raises:
      InputError: the shapes do not match, or `neighbors` or `block` is below 1.

    Example:
      >>> scores = knn(jnp.eye(2), jnp.array([0, 1]), jnp.array([[3.0, 1.0]]), classes=2)
      >>> scores.argmax(-1)
      Array([0], dtype=int32)
    """
    if features.ndim != 2 or labels.shape != features.shape[:1] or not len(features):
        raise InputError(
            f"k-NN: features {features.shape} and labels {labels.shape} do not match; "
            "give [N, F] and [N]"
        )
    if queries.ndim != 2 or queries.shape[1] != features.shape[1]:
        raise InputError(
            f"k-NN: queries {queries.shape} and features {features.shape} do not match; "
            "give vectors of the same length"
        )
    if neighbors < 1 or block < 1:
        raise InputError(f"k-NN: {neighbors} neighbors in blocks of {block}; give at least 1")
    features, queries, labels = unit(features), unit(queries), labels.astype(jnp.int32)
    count, voters = len(features), min(neighbors, len(features))
    length = min(EXAMPLES * block, count)
    # The last piece starts earlier, to have the same length: what it repeats is left out.
    wanted = jnp.arange(-(-count // length)) * length
    numbers = jnp.arange(classes)

    def nearest(query: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The voters' similarities and labels, most similar first."""

        def merge(found: Found, start: jax.Array) -> tuple[Found, None]:
            begin = jnp.minimum(start, count - length)
            piece = jax.lax.dynamic_slice_in_dim(features, begin, length)
            similar = jnp.matmul(query, piece.T, precision="highest")
            similar = jnp.where(begin + jnp.arange(length) < start, -jnp.inf, similar)
            theirs, places = jax.lax.top_k(similar, min(voters, length))
            # Earlier examples come first, and so win ties.
            values, chosen = jax.lax.top_k(jnp.concatenate([found[0], theirs]), voters)
            return (values, jnp.concatenate([found[1], labels[begin + places]])[chosen]), None

        nobody = jnp.full(voters, -jnp.inf, queries.dtype), jnp.full(voters, -1)
        return jax.lax.scan(merge, nobody, wanted)[0]

    def votes(query: jax.Array) -> jax.Array:
        similar, theirs = nearest(query)
        weights = jnp.exp((similar - similar[0]) / temperature)
        return jnp.where(theirs[:, None] == numbers[None], weights[:, None], 0).sum(axis=0)

    return jax.lax.map(votes, queries, batch_size=block)
