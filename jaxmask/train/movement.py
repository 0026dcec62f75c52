"""Movement summed over training, as part of an optimizer chain."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxmask.precision import wide, widened

Tree = Any


class SummedMovement(NamedTuple):
    """The state of `summed`: a tree of the weights' shapes, in float32 or wider."""

    movement: Tree


def summed() -> optax.GradientTransformation:
    """Leaves updates unchanged and accumulates `sum_t -w_t * dL_t/dw_t` over all steps t.

    Put it first in a chain, where updates are still the gradient. A weight's sum is high if the
    steps moved it away from zero.

    Source: Sanh, Wolf, Rush, Movement pruning: adaptive sparsity by fine-tuning, 2020,
    https://arxiv.org/abs/2005.07683 (its factor, the learning rate of the scores, is 1 here).
    """

    def initialize(weights: Tree) -> SummedMovement:
        return SummedMovement(jax.tree.map(lambda w: jnp.zeros_like(w, wide(w.dtype)), weights))

    def update(
        gradients: Tree, state: SummedMovement, weights: Tree = None
    ) -> tuple[Tree, SummedMovement]:
        def add(total: jax.Array, w: jax.Array, g: jax.Array) -> jax.Array:
            return total - widened(w) * widened(g)

        total = jax.tree.map(add, state.movement, weights, gradients)
        return gradients, SummedMovement(total)

    return optax.GradientTransformation(initialize, update)


def total(optimizer_state: Any) -> Tree:
    """The sum in the state of a chain with `summed` in it."""
    return optax.tree.get(optimizer_state, "movement")
