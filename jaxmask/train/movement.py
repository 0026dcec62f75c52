"""Movement summed over training, as part of an optimizer chain."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

Tree = Any


class SummedMovement(NamedTuple):
    """The state of `summed`: a tree of the weights' shapes."""

    movement: Tree


def summed() -> optax.GradientTransformation:
    """Leaves updates unchanged and accumulates `sum_t -w_t * dL_t/dw_t` over all steps t.

    Put it first in a chain, where updates are still the gradient. A weight's sum is high if the
    steps moved it away from zero.

    Source: Sanh, Wolf, Rush, Movement pruning: adaptive sparsity by fine-tuning, 2020,
    https://arxiv.org/abs/2005.07683 (its factor, the learning rate of the scores, is 1 here).
    """

    def initialize(weights: Tree) -> SummedMovement:
        return SummedMovement(jax.tree.map(jnp.zeros_like, weights))

    def update(
        gradients: Tree, state: SummedMovement, weights: Tree = None
    ) -> tuple[Tree, SummedMovement]:
        total = jax.tree.map(lambda t, w, g: t - w * g, state.movement, weights, gradients)
        return gradients, SummedMovement(total)

    return optax.GradientTransformation(initialize, update)


def total(optimizer_state: Any) -> Tree:
    """The sum in the state of a chain with `summed` in it."""
    return optax.tree.get(optimizer_state, "movement")
