"""Optimal brain damage: the classical second-derivative saliency."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxmask.convolution import fast
from jaxmask.errors import InputError
from jaxmask.mask.initialize import split_key
from jaxmask.precision import wide, widened
from jaxmask.score import hessian
from jaxmask.score.batches import average, examples
from jaxmask.sharding import automatic, like
from jaxmask.tree import PyTree


def optimal_brain_damage(
    loss: Callable[..., jax.Array],
    samples: int | None = None,
    key: jax.Array | None = None,
    batch_size: int | None = None,
) -> Callable[..., PyTree]:
    """`s = h_ii w_i^2 / 2`, with `h_ii = d^2 L / dw_i^2`: the loss increase from removing w_i.

    To second order, at a minimum, weights taken one at a time. Away from a minimum `h_ii`, and so
    the score, may be negative.

    The diagonal is exact (`samples=None`), one Hessian-vector product per weight, for small
    networks; or Hutchinson's estimate `mean_k z_k * (H z_k)` over vectors z_k of random signs:
    unbiased, with variance `sum_{j != i} h_ij^2 / samples`.

    Sources: LeCun, Denker, Solla, Optimal brain damage, 1989; Bekas, Kokiopoulou, Saad, An
    estimator for the diagonal of a matrix, 2007, https://doi.org/10.1016/j.apnum.2007.01.003.

    Args:
      loss: (w, *batch) -> scalar, a mean over axis 0 of the batch.
      samples: vectors in Hutchinson's estimate; None computes the diagonal exactly.
      key: for the random signs; None is a fixed key.
      batch_size: examples per product; does not change the scores.

    Returns:
      A scorer (w, *batch) -> scores of the shapes of `w`, in float32 or wider.

    Raises:
      InputError: fewer than one sample; when called without data.

    Example:
      >>> loss = lambda w, x: jnp.mean((x @ w["w"]) ** 2)
      >>> w, x = {"w": jnp.array([1.0, 2.0])}, jnp.array([[1.0, 1.0], [3.0, 1.0]])
      >>> score.optimal_brain_damage(loss)(w, x)["w"].tolist()
      [5.0, 4.0]
    """
    if samples is not None and samples < 1:
        raise InputError(f"optimal_brain_damage: samples is {samples}; give at least 1, or None")
    multiply = hessian.product(loss)

    @jax.jit
    def scores(w: PyTree, *batch: Any) -> PyTree:
        examples("optimal_brain_damage", *batch)

        def product(v: PyTree) -> PyTree:
            curved = average(
                lambda w, *piece: multiply(w, v, *piece), batch_size, "optimal_brain_damage"
            )
            return curved(w, *batch)

        fitting = fast(product)  # because it runs in a loop
        diagonal = _exact(fitting, w) if samples is None else _estimate(fitting, w, samples, key)
        return like(w, jax.tree.map(lambda w, h: h * jnp.square(widened(w)) / 2, w, diagonal))

    return scores


def _estimate(
    product: Callable[[PyTree], PyTree], w: PyTree, samples: int, key: jax.Array | None
) -> PyTree:
    keys = jax.random.split(jax.random.key(0) if key is None else key, samples)

    def draw(key: jax.Array, w: jax.Array) -> jax.Array:
        return jax.random.rademacher(key, w.shape, w.dtype)

    def add(total: PyTree, key: jax.Array) -> tuple[PyTree, None]:
        signs = like(w, jax.tree.map(draw, split_key(key, w), w))
        return jax.tree.map(lambda t, z, h: t + widened(z) * h, total, signs, product(signs)), None

    zeros = jax.tree.map(lambda w: jnp.zeros_like(w, wide(w.dtype)), w)
    total, _ = lax.scan(add, zeros, keys)
    return jax.tree.map(lambda leaf: leaf / samples, total)


def _exact(product: Callable[[PyTree], PyTree], w: PyTree) -> PyTree:
    leaves, structure = jax.tree.flatten(w)
    zeros = [jnp.zeros_like(leaf) for leaf in leaves]
    diagonals = []
    for position, leaf in enumerate(leaves):
        if not leaf.size:  # even an empty loop is traced
            diagonals.append(widened(leaf))
            continue

        def entry(index: jax.Array, position: int = position) -> jax.Array:
            unit = list(zeros)
            unit[position] = automatic(_unit, zeros[position], zeros[position], index)
            curved = jax.tree.leaves(product(jax.tree.unflatten(structure, unit)))
            return automatic(lambda h, index: h.ravel()[index], None, curved[position], index)

        entries = lax.map(entry, jnp.arange(leaf.size))
        shape = leaf.shape
        diagonals.append(automatic(lambda e, shape: e.reshape(shape), leaf, entries, shape))
    return jax.tree.unflatten(structure, diagonals)


def _unit(zeros: jax.Array, index: jax.Array) -> jax.Array:
    return zeros.ravel().at[index].set(1).reshape(zeros.shape)
