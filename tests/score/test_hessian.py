"""Products with the Hessian, by whichever order of differentiation the loss allows."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import agree, batch, curvature, flat, loss, row, stacked, unflat, weights

from jaxmask import mask
from jaxmask.score import hessian


@jax.custom_vjp
def reverse_only(x):
    """The identity, through which forward mode cannot go."""
    return x


reverse_only.defvjp(lambda x: (reverse_only(x), None), lambda _, g: (g,))


PRODUCT = jax.jit(hessian.product(loss))


def direction(like, seed=3):
    count = sum(leaf.size for leaf in jax.tree.leaves(like))
    return unflat(np.random.default_rng(seed).normal(size=count), like)


@given(st.integers(0, 2**31 - 1), st.floats(-100, 100))
@settings(max_examples=10)
def test_it_is_linear_and_the_hessian_symmetric(seed, factor):
    with jax.enable_x64(True):
        w = weights(seed)
        u, v = direction(w, seed), direction(w, seed + 1)
        by_u, by_v = PRODUCT(w, u, *batch()), PRODUCT(w, v, *batch())
        both = jax.tree.map(lambda a, b: factor * a + b, u, v)
        expected = jax.tree.map(lambda a, b: factor * a + b, by_u, by_v)
        agree(PRODUCT(w, both, *batch()), expected, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(flat(v) @ flat(by_u), flat(u) @ flat(by_v), rtol=1e-9, atol=1e-9)


def test_vmap_over_directions_equals_a_loop(x64):
    w = weights()
    directions = [jax.tree.map(jnp.asarray, direction(w, seed)) for seed in range(2)]
    batched = jax.vmap(lambda v: PRODUCT(w, v, *batch()))(stacked(directions))
    for index, v in enumerate(directions):
        agree(row(batched, index), PRODUCT(w, v, *batch()), rtol=1e-9)


def test_both_orders_equal_finite_differences(x64):
    w = weights()
    v = direction(w)
    expected = curvature(w, v, *batch())

    def backwards(w, x, y):
        return loss(jax.tree.map(reverse_only, w), x, y)

    with pytest.raises(TypeError, match="forward-mode"):
        jax.jvp(lambda w: backwards(w, *batch()), (w,), (v,))
    forward = hessian.product(loss)(w, v, *batch())
    agree(forward, expected, rtol=1e-6, atol=1e-9)
    agree(PRODUCT(w, v, *batch()), forward)
    agree(hessian.product(backwards)(w, v, *batch()), forward)


@pytest.mark.parametrize("rescale", [True, "constant", False])
def test_through_a_mask_it_is_the_hessian_by_the_mask(rescale, x64):
    """Straight-through derivatives by the scores are those by the mask, second ones too."""
    w = weights()
    scores = jax.tree.map(lambda leaf: leaf + 0.1, weights(1))
    bits = jax.tree.map(lambda s: (s > 0).astype(s.dtype), scores)
    v = direction(w)
    tx = mask.threshold(rescale=rescale)

    def of_scores(scores, x, y):
        return loss(tx.apply(scores, w), x, y)

    def of_bits(bits, x, y):
        return loss(jax.tree.map(lambda m, w: mask.masked(m, w, rescale), bits, w), x, y)

    with pytest.raises(TypeError, match="forward-mode"):
        jax.jvp(lambda s: of_scores(s, *batch()), (scores,), (v,))
    through = jax.jit(hessian.product(of_scores))(scores, v, *batch())
    agree(through, hessian.product(of_bits)(bits, v, *batch()), rtol=1e-9)


def test_under_frozen_scores_it_is_that_of_the_masked_network(x64):
    w, v = weights(), direction(weights())
    scores = weights(1)
    tx = mask.threshold(rescale=False)
    bits = jax.tree.map(lambda s: (s > 0).astype(s.dtype), scores)

    def masked(w, x, y):
        return loss(tx.apply(scores, w), x, y)

    def product(m, leaf):
        return np.asarray(m) * np.asarray(leaf)

    small, shown = (jax.tree.map(product, bits, tree) for tree in (w, v))
    expected = jax.tree.map(product, bits, curvature(small, shown, *batch()))
    agree(hessian.product(masked)(w, v, *batch()), expected, rtol=1e-6, atol=1e-9)


def test_a_fault_of_the_loss_comes_up_as_it_is():
    def faulty(w, x):
        raise TypeError("a fault of the user's own")

    with pytest.raises(TypeError, match="a fault of the user's own"):
        hessian.product(faulty)(jnp.ones(2), jnp.ones(2), jnp.ones(3))
