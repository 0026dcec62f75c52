"""Products of a loss's Hessian with a vector, never with the matrix itself."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxmask.tree import PyTree


def product(loss: Callable[..., jax.Array]) -> Callable[..., PyTree]:
    """`(w, v, *batch) -> H v` with `H = d^2 loss / dw^2`.

    The derivative of the gradient along v, by `jax.jvp` of `jax.grad` (Pearlmutter 1994). Where
    the loss contains a `jax.custom_vjp` (this package's masks, fused attention), through which
    forward mode cannot go, it is the gradient of `<grad loss, v>`.

    Args:
      loss: (w, *batch) -> scalar.

    Returns:
      A function; `v` and its result have the structure of `w`.
    """
    gradient = jax.grad(loss)

    def forward_over_reverse(w: PyTree, v: PyTree, *batch: Any) -> PyTree:
        return jax.jvp(lambda w: gradient(w, *batch), (w,), (v,))[1]

    def reverse_over_reverse(w: PyTree, v: PyTree, *batch: Any) -> PyTree:
        def along(w: PyTree) -> jax.Array:
            products = jax.tree.map(jnp.vdot, gradient(w, *batch), v)
            return jnp.sum(jnp.stack(jax.tree.leaves(products)))

        return jax.grad(along)(w)

    def multiply(w: PyTree, v: PyTree, *batch: Any) -> PyTree:
        try:
            return forward_over_reverse(w, v, *batch)
        except TypeError:
            # That is what JAX raises at a custom_vjp; a fault of the loss itself comes up again.
            return reverse_over_reverse(w, v, *batch)

    return multiply
