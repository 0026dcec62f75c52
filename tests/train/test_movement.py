"""Movement summed over training: `sum -w * dL/dw`, as a part of an optimizer."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from jaxmask.train import movement, optimizer

pytestmark = pytest.mark.usefixtures("quick_compilation")

NUMBERS = arrays.arrays(np.float32, 4, elements=st.floats(-4, 4, width=16))


@settings(max_examples=20)
@given(st.lists(NUMBERS, min_size=1, max_size=4), NUMBERS)
def test_the_sum_is_over_all_steps_and_updates_stay_as_they_are(gradients, weights):
    """Weights move by SGD between the steps."""
    chain = optax.chain(movement.summed(), optax.sgd(0.5))
    tree = {"w": jnp.asarray(weights), "hole": None}
    state, total, current = chain.init(tree), np.zeros(4), weights.astype(np.float64)
    for gradient in gradients:
        updates, state = chain.update({"w": jnp.asarray(gradient), "hole": None}, state, tree)
        np.testing.assert_allclose(updates["w"], -0.5 * gradient, rtol=1e-6)
        tree = optax.apply_updates(tree, updates)
        total -= current * gradient
        current = current - 0.5 * gradient
    found = movement.total(state)
    np.testing.assert_allclose(found["w"], total, rtol=1e-4, atol=1e-4)
    assert found["hole"] is None


def test_it_begins_with_zeros_of_the_weights_shapes():
    weights = {"a": jnp.ones((2, 3)), "b": {"c": jnp.ones(1, jnp.bfloat16)}}
    state = movement.summed().init(weights)
    chex.assert_trees_all_equal(movement.total(state), jax.tree.map(jnp.zeros_like, weights))


def test_it_is_found_in_an_optimizer_of_groups_before_the_gradient_is_clipped():
    """As the trainer puts it there: first, within the chain of a named optimizer."""
    course = optimizer.schedule("constant", 1, 1)
    named = optimizer.optimizer("adam", course, clip=1e-3, first=(movement.summed(),))
    together = optimizer.grouped({"train": named, "scores": optimizer.optimizer("sgd", course)})
    learned = {"train": {"w": jnp.array([2.0, -3.0])}, "scores": {"w": jnp.ones(2)}}
    gradients = {"train": {"w": jnp.array([5.0, 7.0])}, "scores": {"w": jnp.ones(2)}}
    _, state = together.update(gradients, together.init(learned), learned)
    np.testing.assert_allclose(movement.total(state["train"])["w"], [-10.0, 21.0])


@pytest.mark.parametrize("kind", ["bfloat16", "float16"])
def test_many_small_steps_of_narrow_weights_are_all_summed(kind):
    """The 3,000th addition of 1 is lost in both dtypes."""
    transformation, w = movement.summed(), {"w": jnp.ones(2, kind)}
    gradient = {"w": -jnp.ones(2, kind)}

    def step(state, _):
        return transformation.update(gradient, state, w)[1], None

    state, _ = jax.lax.scan(step, transformation.init(w), None, 3000)
    assert state.movement["w"].tolist() == [3000.0, 3000.0]
