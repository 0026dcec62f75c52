"""The two theorems on equivalent hyperparameters, and that nothing less than both is one.

SGD with momentum. One: without weight decay, adding one constant to every initial score and to mu
changes no mask at any step. Two: multiplying initial scores, mu and learning rate by a > 0, and
dividing weight decay by a, changes no mask at any step. And what the scores are: a running sum of
gradients, or under weight decay an exponential average of them.
"""

import functools
import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxmask import mask

STEPS = 20
NETWORKS = [((6, 8, 3), True), ((4, 6, 2), "constant")]


@functools.cache
def training(widths, rescale, dtype):
    """A compiled function: seed, learning rate, ..., mu, decay -> masks of every step."""

    def forward(weights, x):
        for layer in range(len(widths) - 1):
            x = x @ weights[f"layer{layer}"]
            x = jnp.tanh(x) if layer < len(widths) - 2 else x
        return x

    @jax.jit
    def run(seed, learning_rate, spread, start, mu, decay):
        keys = jax.random.split(jax.random.key(seed), 4)
        shapes = {f"layer{i}": pair for i, pair in enumerate(itertools.pairwise(widths))}
        empty = {name: jnp.zeros(shape, dtype) for name, shape in shapes.items()}
        weights = mask.normal(0.7)(keys[0], empty)
        x = jax.random.normal(keys[1], (16, widths[0]), dtype)
        y = jax.random.normal(keys[2], (16, widths[-1]), dtype)
        tx = mask.threshold(mu, rescale=rescale)
        noise = mask.normal()(keys[3], empty)
        scores = jax.tree.map(lambda n: spread * n + start, noise)
        optimizer = optax.chain(
            optax.add_decayed_weights(decay), optax.sgd(learning_rate, momentum=0.9)
        )

        def step(state, _):
            scores, moments = state
            gradient = jax.grad(
                lambda s: jnp.mean((forward(tx.apply(s, weights), x) - y) ** 2)
            )(scores)  # fmt: skip
            updates, moments = optimizer.update(gradient, moments, scores)
            return (optax.apply_updates(scores, updates), moments), tx.mask(scores)

        _, masks = jax.lax.scan(step, (scores, optimizer.init(scores)), None, STEPS + 1)
        return jnp.concatenate(
            [leaf.reshape(STEPS + 1, -1) for leaf in jax.tree.leaves(masks)], axis=1
        )

    return run


def masks_of(network, dtype, seed, learning_rate, spread, start, mu, decay=0.0):
    numbers = [np.asarray(number, dtype) for number in (learning_rate, spread, start, mu, decay)]
    return np.asarray(training(*network, dtype)(seed, *numbers))


def moved(masks):
    """How many bits differ between some two steps that follow each other."""
    return int((masks[1:] != masks[:-1]).sum())


cases = st.tuples(
    st.sampled_from(NETWORKS),
    st.integers(0, 2**31 - 1),
    st.floats(1, 100),
    st.floats(0.1, 1),
    st.floats(-0.5, 0.5),
)


@given(cases, st.floats(-2, 2))
@settings(max_examples=30)
def test_a_shift_changes_no_mask(case, shift):
    network, seed, rate, spread, mu = case
    with jax.enable_x64(True):
        base = masks_of(network, "float64", seed, rate, spread, mu + 0.1, mu)
        shifted = masks_of(network, "float64", seed, rate, spread, mu + 0.1 + shift, mu + shift)
    assert moved(base) > 0
    chex.assert_trees_all_equal(base, shifted, strict=True)


@given(cases, st.integers(-8, 8))
@settings(max_examples=30)
def test_a_power_of_two_changes_no_mask_in_float32(case, exponent):
    network, seed, rate, spread, mu = (*case[:2], *map(np.float32, case[2:]))
    a = np.float32(2.0**exponent)
    start = np.float32(mu + np.float32(0.1))
    base = masks_of(network, "float32", seed, rate, spread, start, mu)
    scaled = masks_of(network, "float32", seed, a * rate, a * spread, a * start, a * mu)
    assert moved(base) > 0
    chex.assert_trees_all_equal(base, scaled, strict=True)


@given(cases, st.integers(-8, 8), st.floats(1e-5, 1e-3))
@settings(max_examples=30)
def test_a_power_of_two_with_its_weight_decay_changes_no_mask_in_float32(case, exponent, decay):
    network, seed, rate, spread, mu, decay = (*case[:2], *map(np.float32, (*case[2:], decay)))
    a = np.float32(2.0**exponent)
    start = np.float32(mu + np.float32(0.1))
    base = masks_of(network, "float32", seed, rate, spread, start, mu, decay)
    scaled = masks_of(network, "float32", seed, a * rate, a * spread, a * start, a * mu, decay / a)
    assert moved(base) > 0
    chex.assert_trees_all_equal(base, scaled, strict=True)


def test_the_decay_must_be_divided(x64):
    network, decay = PUBLISHED[0], 0.05
    base = masks_of(network, "float64", 0, 50, 0.3, 1, 0, decay)
    chex.assert_trees_all_equal(base, masks_of(network, "float64", 0, 100, 0.6, 2, 0, decay / 2))
    assert (base != masks_of(network, "float64", 0, 100, 0.6, 2, 0, decay)).any()


PUBLISHED = (((6, 8, 3), True), "float64", 0)


def test_the_published_pair_of_equivalent_settings(x64):
    base = masks_of(*PUBLISHED, 50, 0, 1, 0)
    assert moved(base) > 20
    assert base[0].all()
    chex.assert_trees_all_equal(base, masks_of(*PUBLISHED, 100, 0, 2.5, 0.5), strict=True)


@pytest.mark.parametrize("decay", [0.0, 1e-3, 0.02])
def test_scores_are_a_sum_or_an_exponential_average_of_gradients(decay, x64):
    """`s_0 - rate sum g`; or `b s + (1 - b) (-g / decay)` with b = 1 - rate decay."""
    rate, random = 3.0, np.random.default_rng(0)
    gradients, start = random.normal(size=(STEPS, 5)), random.normal(size=5)
    optimizer = optax.chain(optax.add_decayed_weights(decay), optax.sgd(rate))
    scores, state = jnp.asarray(start), optimizer.init(jnp.asarray(start))
    average, keep = start, 1 - rate * decay
    for count, gradient in enumerate(gradients, 1):
        updates, state = optimizer.update(jnp.asarray(gradient), state, scores)
        scores = optax.apply_updates(scores, updates)
        if decay:
            average = keep * average + (1 - keep) * (-gradient / decay)
        else:
            average = start - rate * gradients[:count].sum(axis=0)
        np.testing.assert_allclose(scores, average, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    "changed", [(100, 0, 1, 0), (50, 0, 2.5, 0), (50, 0, 1, 0.5), (100, 0, 2.5, 0), (50, 0, 2, 0)]
)
def test_less_than_all_together_changes_the_masks(changed, x64):
    base = masks_of(*PUBLISHED, 50, 0, 1, 0)
    assert (base != masks_of(*PUBLISHED, *changed)).any()
