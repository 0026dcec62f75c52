"""The state of a training run before its first step."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxmask.train.state import Sums, initial


def test_it_holds_copies_because_a_states_arrays_are_donated():
    learned, stats = {"train": {"w": jnp.arange(3.0), "hole": None}}, {"mean": jnp.ones(2)}
    state = initial(learned, stats, optax.sgd(0.1), jax.random.key(0))
    jax.jit(lambda state: jax.tree.map(lambda leaf: leaf + 1, state), donate_argnums=0)(state)
    chex.assert_trees_all_equal(learned, {"train": {"w": np.arange(3.0), "hole": None}})
    chex.assert_trees_all_equal(stats, {"mean": np.ones(2)})


def test_nothing_is_done_and_the_key_is_plain_numbers():
    optimizer = optax.sgd(0.1, momentum=0.9)
    learned = {"train": {"w": jnp.arange(3.0)}}
    state = initial(learned, {}, optimizer, jax.random.key(7))
    assert (int(state.step), state.step.dtype) == (0, jnp.int32)
    chex.assert_type(state.key, jnp.uint32)
    again = jax.random.wrap_key_data(state.key)
    assert jax.random.uniform(again) == jax.random.uniform(jax.random.key(7))
    chex.assert_trees_all_equal(state.optimizer, optimizer.init(learned))
    chex.assert_trees_all_equal(state.sums, Sums.zero())


def test_means_are_sums_by_the_examples():
    sums = Sums({"loss": jnp.float32(3.0), "accuracy": jnp.int32(3)}, jnp.int32(4))
    assert sums.means() == {"loss": 0.75, "accuracy": 0.75}
    assert all(type(value) is float for value in sums.means().values())
