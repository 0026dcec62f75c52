"""Masks of several values."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxmask import mask
from jaxmask.errors import InputError

UP = {"values": (0.5, 1.0, 1.5), "thresholds": (-1.0, 1.0), "init": mask.constant(0.0)}


def test_by_hand():
    s = jnp.array([-1.5, -1.0, -0.5, 0.0, 0.1, 9.0, jnp.nan])
    assert mask.levels().mask({"w": s})["w"].tolist() == [-1, -1, 0, 0, 1, 1, -1]
    assert mask.levels(**UP).mask({"w": s})["w"].tolist() == [0.5, 0.5, 1, 1, 1, 1.5, 0.5]


@given(
    st.lists(st.integers(-8, 8), min_size=1, max_size=5, unique=True).map(sorted),
    st.integers(0, 2**16),
)
@settings(max_examples=15)
def test_it_is_numpys_digitize_and_planes_are_its_inverse(thresholds, seed):
    random = np.random.default_rng(seed)
    values = np.sort(random.normal(size=len(thresholds) + 1)).astype(np.float32).tolist()
    tx = mask.levels(values, thresholds)
    scores = {"a": {"w": jnp.asarray(random.integers(-9, 9, (3, 4)), jnp.float32)}}
    found = tx.mask(scores)
    # right=True: a score at a threshold is below it
    wanted = np.float32(values)[np.digitize(scores["a"]["w"], thresholds, right=True)]
    np.testing.assert_array_equal(found["a"]["w"], wanted)
    back = mask.from_planes(mask.planes(found, values), values)
    chex.assert_trees_all_equal(back, found)


def test_two_values_are_a_threshold_or_a_sign():
    random = np.random.default_rng(0)
    scores = {"w": jnp.asarray(random.normal(size=(4, 5)), jnp.float32)}
    weights = {"w": jnp.asarray(random.normal(size=(4, 5)), jnp.float32)}
    pairs = [
        (mask.levels((0, 1), (0.1,)), mask.threshold(0.1, rescale=False)),
        (mask.levels((-1, 1), (0.1,)), mask.sign(0.1)),
    ]
    for ours, known in pairs:
        for tx in (ours, known):
            assert tx.put is mask.unscaled

        def loss(tx):
            return lambda s, w: jnp.sum(tx.apply(s, w)["w"] ** 3)

        chex.assert_trees_all_equal(
            jax.grad(loss(ours), (0, 1))(scores, weights),
            jax.grad(loss(known), (0, 1))(scores, weights),
        )


def test_the_gradient_is_straight_through_compiled_or_not_and_under_vmap():
    tx = mask.levels(**UP)
    weights = jnp.array([2.0, 3.0, -1.0])
    scores = jnp.array([[0.0, -2.0, 2.0], [3.0, 0.5, -0.5]])

    def gradient(s):
        return jax.grad(lambda s: jnp.sum(tx.apply({"w": s}, {"w": weights})["w"] ** 2))(s)

    # d/dm of (w m)^2 = 2 w^2 m
    wanted = 2 * weights**2 * jnp.array([[1.0, 0.5, 1.5], [1.5, 1.0, 1.0]])
    for found in (jax.vmap(gradient)(scores), jax.jit(jax.vmap(gradient))(scores)):
        np.testing.assert_allclose(found, wanted, rtol=1e-6)


@pytest.mark.parametrize(
    ("values", "thresholds"),
    [((1.0,), ()), ((0, 1), (0, 1)), ((0, 1, 0), (0, 1)), ((0, 1, 2), (1, 1)), ((0, "1"), (0,)),
     (3.0, (0.0,)), ((0.0, float("inf")), (0.0,))],
)  # fmt: skip
def test_what_is_refused(values, thresholds):
    with pytest.raises(InputError, match="levels"):
        mask.levels(values, thresholds)


def test_planes_of_another_mask_are_refused():
    bits = mask.planes({"w": jnp.array([1.0, 0.0])}, (0.0, 1.0))
    for wrong in (bits, {"w": jnp.array([True])}, {"w": {"above_0": 1, "above_9": 1}}):
        with pytest.raises(InputError, match="bits of a mask of 3 values"):
            mask.from_planes(wrong, (-1.0, 0.0, 1.0))
    uneven = {"w": {"above_0": jnp.ones(2, bool), "above_1": jnp.ones(1, bool)}}
    with pytest.raises(InputError, match="shapes"):
        mask.from_planes(uneven, (-1.0, 0.0, 1.0))
    for values in ("abc", [1, 0], [0, None], {"0": 1}, [True, 2]):
        with pytest.raises(InputError, match="values"):
            mask.from_planes(bits, values)


def test_no_level_is_simply_on():
    with pytest.raises(InputError, match="simply on"):
        mask.selective(mask.levels(), {"w": True})
