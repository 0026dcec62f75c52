"""Products of a loss's Hessian with a vector, without forming the matrix."""

from collections.abc import Callable
from typing import Any

import jax
from jax.extend import core
from jax.extend.core.primitives import custom_lin_p

from jaxmask.precision import total, widened
from jaxmask.sharding import like
from jaxmask.tree import PyTree, aligned


def product(loss: Callable[..., jax.Array]) -> Callable[..., PyTree]:
    """`(w, v, *batch) -> H v` with `H = d^2 loss / dw^2`.

    The derivative of the gradient along v, by `jax.jvp` of `jax.grad` (Pearlmutter 1994). If
    the loss contains a `jax.custom_vjp` (this package's masks, fused attention), which forward
    mode cannot differentiate, it is the gradient of `<grad loss, v>`.

    Args:
      loss: (w, *batch) -> scalar.

    Returns:
      A function; `v` has the paths of `w`, and the result its structure and dtypes.
    """
    gradient = jax.grad(loss)

    def forward_over_reverse(w: PyTree, v: PyTree, *batch: Any) -> PyTree:
        return jax.jvp(lambda w: gradient(w, *batch), (w,), (v,))[1]

    def reverse_over_reverse(w: PyTree, v: PyTree, *batch: Any) -> PyTree:
        def along(w: PyTree) -> jax.Array:
            wide = jax.tree.map(lambda g, v: widened(g) * widened(v), gradient(w, *batch), v)
            return total(jax.tree.leaves(wide))

        return jax.grad(along)(w)

    def multiply(w: PyTree, v: PyTree, *batch: Any) -> PyTree:
        v = jax.tree.map(lambda w, v: v.astype(w.dtype), w, aligned(w, v, "the vector"))
        # Checked first, not tried: under jit, JAX raises only after everything is traced.
        traced = jax.make_jaxpr(forward_over_reverse)(w, v, *batch)
        order = reverse_over_reverse if _reverse_only(traced.jaxpr) else forward_over_reverse
        return like(w, order(w, v, *batch))

    return multiply


def _reverse_only(jaxpr: core.Jaxpr) -> bool:
    """Whether forward mode met a custom_vjp, and left an equation that can only be transposed."""
    return any(equation.primitive is custom_lin_p for equation in jaxpr.eqns) or any(
        map(_reverse_only, core.subjaxprs(jaxpr))
    )
