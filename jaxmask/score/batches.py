"""Means over all examples of a function of a batch, however the examples are divided."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxmask.convolution import fast
from jaxmask.errors import InputError
from jaxmask.precision import wide, widened
from jaxmask.sharding import like, split_as, whole
from jaxmask.tree import PyTree


def average(
    function: Callable[..., PyTree], batch_size: int | None, name: str
) -> Callable[..., PyTree]:
    """`function(w, *batch)`, a mean over the examples, computed on pieces of the batch.

    For N examples in pieces of b, the last one of r < b: `sum_i (n_i / N) * function(piece_i)`,
    which is `function` of the whole batch: a `lax.scan` over the full pieces and one call for
    the remainder.

    Args:
      function: (w, *batch) -> tree of the shapes of w, a mean over axis 0 of the batch's arrays.
      batch_size: examples per piece, at least 1; None takes all at once.
      name: of the scorer, for error messages.

    Returns:
      A function (w, *batch) -> tree of the shapes of w, in float32 or wider.

    Raises:
      InputError: when called without data, without examples, or with arrays of differing lengths;
        a batch size below 1.
    """
    if batch_size is not None and batch_size < 1:
        raise InputError(f"{name}: batch_size is {batch_size}; give at least 1, or None")

    def averaged(w: PyTree, *batch: Any) -> PyTree:
        count = examples(name, *batch)
        size = min(batch_size or count, count)
        full = count // size
        compute = fast(function)
        if full == 1 and count == size:
            return jax.tree.map(widened, compute(w, *batch))

        def add(total: PyTree, piece: Any) -> tuple[PyTree, None]:
            new = like(w, compute(w, *piece))
            return jax.tree.map(lambda t, leaf: t + widened(leaf), total, new), None

        def pieces(x: jax.Array) -> jax.Array:
            cut = whole(x)[: full * size].reshape(full, size, *x.shape[1:])
            return split_as(x, cut, axis=1)

        zeros = jax.tree.map(lambda leaf: jnp.zeros_like(leaf, wide(leaf.dtype)), w)
        total, _ = lax.scan(add, zeros, jax.tree.map(pieces, batch))
        total = jax.tree.map(lambda leaf: leaf * (size / count), total)
        rest = count - full * size
        if rest:
            cut = jax.tree.map(lambda x: split_as(x, whole(x)[full * size :]), batch)
            last = compute(w, *cut)
            total = jax.tree.map(
                lambda leaf, more: leaf + widened(more) * (rest / count), total, last
            )
        return total

    return averaged


def examples(name: str, *batch: Any) -> int:
    """The number of examples in a batch; InputError if it has none or its arrays disagree."""
    leaves = jax.tree.leaves(batch)
    if not leaves:
        raise InputError(
            f"{name} scores weights on data but got none; give the batch after the weights: "
            f"score.{name}(loss)(w, x, y)"
        )
    counts = {jnp.shape(leaf)[0] if jnp.ndim(leaf) else None for leaf in leaves}
    count = counts.pop()
    if counts or not count:
        shapes = ", ".join(str(jnp.shape(leaf)) for leaf in leaves)
        raise InputError(
            f"{name}: the batch has arrays of shapes {shapes}; all need the same number of "
            "examples along axis 0, at least 1"
        )
    return count
