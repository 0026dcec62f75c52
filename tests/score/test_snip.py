"""SNIP: connection sensitivity, and what it is invariant to."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import agree, batch, flat, gradient, loss, weights

from jaxmask import score
from jaxmask.errors import InputError

SNIP = score.snip(loss)


def test_equals_the_share_of_each_product_of_weight_and_gradient(x64):
    w = weights()
    products = jax.tree.map(lambda w, g: np.abs(np.asarray(w) * g), w, gradient(w, *batch()))
    total = sum(leaf.sum() for leaf in jax.tree.leaves(products))
    agree(SNIP(w, *batch()), jax.tree.map(lambda leaf: leaf / total, products))


def test_is_the_derivative_by_a_factor_in_front_of_each_weight(x64):
    w = weights()
    ones = jax.tree.map(jnp.ones_like, w)
    by_factor = jax.grad(lambda c: loss(jax.tree.map(jnp.multiply, c, w), *batch()))(ones)
    size = jax.tree.map(jnp.abs, by_factor)
    agree(SNIP(w, *batch()), jax.tree.map(lambda leaf: leaf / flat(size).sum(), size))


@given(st.integers(0, 2**32 - 1), st.floats(0.01, 100))
@settings(max_examples=20)
def test_invariances(seed, factor):
    with jax.enable_x64(True):
        w = weights(seed)
        scores = SNIP(w, *batch())
        np.testing.assert_allclose(flat(scores).sum(), 1, rtol=1e-12)
        assert flat(scores).min() >= 0
        # more in one layer, less in the next: the same ReLU network, the same scores
        first = jax.tree.map(lambda leaf: factor * leaf, w["first"])
        second = {**w["second"], "kernel": w["second"]["kernel"] / factor}
        agree(SNIP({"first": first, "second": second}, *batch()), scores, rtol=1e-8)


def test_the_scale_of_the_loss_does_not_matter(x64):
    scaled = score.snip(lambda *arguments: -7.3 * loss(*arguments))
    agree(scaled(weights(), *batch()), SNIP(weights(), *batch()))


def test_a_loss_that_feels_nothing_gives_zeros():
    dead = score.snip(lambda w, x: jnp.mean(jax.nn.relu(x @ w["w"] - 100)))
    scores = dead({"w": jnp.ones((3, 2))}, jnp.ones((5, 3)))
    chex.assert_trees_all_equal(scores, {"w": jnp.zeros((3, 2))}, strict=True)


def test_with_their_origin_pruned_weights_are_scored_by_the_factor_in_front_of_them(x64):
    origin = weights()
    bits = jax.tree.map(lambda leaf: (jnp.abs(leaf) > 0.5).astype(leaf.dtype), origin)
    w = jax.tree.map(jnp.multiply, bits, origin)
    by_factor = jax.grad(lambda c: loss(jax.tree.map(jnp.multiply, c, origin), *batch()))(bits)
    size = jax.tree.map(jnp.abs, by_factor)
    scores = score.snip(loss, origin=origin)(w, *batch())
    agree(scores, jax.tree.map(lambda leaf: leaf / flat(size).sum(), size))
    assert (flat(scores)[flat(w) == 0] > 0).any()
    agree(score.snip(loss, origin=w)(w, *batch()), SNIP(w, *batch()))


def test_an_origin_of_other_shapes_is_refused():
    with pytest.raises(InputError, match="origin"):
        score.snip(loss, origin={"first": jnp.ones(2)})(weights(), *batch())
