"""Means over all examples of a function of a batch, however the examples are divided."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxmask.convolution import canonical
from jaxmask.errors import InputError
from jaxmask.mask.initialize import score_dtype
from jaxmask.tree import PyTree


def average(
    function: Callable[..., PyTree], batch_size: int | None, name: str
) -> Callable[..., PyTree]:
    """`function(w, *batch)`, a mean over the examples, computed on pieces of the batch.

    For N examples in pieces of b, the last one of r < b: `sum_i (n_i / N) * function(piece_i)`,
    which is `function` of the whole batch: a `lax.scan` over the full pieces and one call for
    the remainder.

    Args:
      function: (w, *batch) -> tree, a mean over axis 0 of the batch's arrays.
      batch_size: examples per piece, at least 1; None takes all at once.
      name: of the scorer, for error messages.

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
        compute = canonical(function) if jax.default_backend() == "cpu" else function
        if full == 1 and count == size:
            return compute(w, *batch)
        pieces = jax.tree.map(lambda x: x[: full * size].reshape(full, size, *x.shape[1:]), batch)

        def add(total: PyTree, piece: Any) -> tuple[PyTree, None]:
            return jax.tree.map(jnp.add, total, compute(w, *piece)), None

        first = jax.tree.map(lambda x: x[0], pieces)
        shapes = jax.eval_shape(function, w, *first)
        # At least float32: bfloat16 cannot count beyond 256.
        zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, score_dtype(leaf)), shapes)
        total, _ = lax.scan(add, zeros, pieces)
        total = jax.tree.map(lambda leaf: leaf * (size / count), total)
        rest = count - full * size
        if rest:
            last = compute(w, *jax.tree.map(lambda x: x[full * size :], batch))
            total = jax.tree.map(lambda leaf, more: leaf + more * (rest / count), total, last)
        return jax.tree.map(lambda leaf, like: leaf.astype(like.dtype), total, shapes)

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
