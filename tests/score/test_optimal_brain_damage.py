"""Optimal brain damage: the exact diagonal of the Hessian, and Hutchinson's estimate of it."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from networks import agree, batch, flat, hessian, loss, weights

from jaxmask import score
from jaxmask.errors import InputError


def test_equals_the_diagonal_by_finite_differences(x64):
    w = weights()
    expected = np.diag(hessian(w, *batch())) * flat(w) ** 2 / 2
    found = score.optimal_brain_damage(loss)(w, *batch())
    np.testing.assert_allclose(flat(found), expected, rtol=1e-6, atol=1e-10)


def test_is_what_removing_a_weight_costs_at_the_minimum_of_a_parabola(x64):
    x = jnp.asarray(np.random.default_rng(0).normal(size=(9, 4)))
    best = jnp.array([1.0, -2.0, 0.5, 3.0])

    def parabola(w, x):
        return jnp.mean((x @ (w["w"] - best)) ** 2)

    scores = score.optimal_brain_damage(parabola)({"w": best}, x)["w"]
    costs = [parabola({"w": best.at[i].set(0)}, x) for i in range(4)]
    np.testing.assert_allclose(scores, costs, rtol=1e-12)


def test_hutchinsons_estimate_has_the_mean_and_the_variance_that_are_documented(x64):
    w, samples = weights(), 400
    matrix = hessian(w, *batch())
    diagonal = np.diag(matrix)
    deviation = np.sqrt(((matrix**2).sum(axis=1) - diagonal**2) / samples)
    estimate = score.optimal_brain_damage(loss, samples=samples, key=jax.random.key(4))
    found = flat(estimate(w, *batch())) / (flat(w) ** 2 / 2)
    curved = deviation > 1e-8
    assert curved.sum() > 40
    errors = (found - diagonal)[curved] / deviation[curved]
    assert np.abs(errors).max() < 5
    assert 0.5 < np.mean(errors**2) < 2


def test_the_estimate_follows_the_key_and_is_exact_for_a_diagonal_hessian(x64):
    def separate(w, x):
        return jnp.mean(x) * sum(jnp.sum(leaf**4) for leaf in jax.tree.leaves(w))

    w, x = weights(), jnp.array([1.0, 2.0])
    exact = score.optimal_brain_damage(separate)(w, x)
    agree(exact, jax.tree.map(lambda w: 1.5 * 12 * w**2 * w**2 / 2, w))
    agree(score.optimal_brain_damage(separate, samples=1)(w, x), exact)
    one, same, other = (
        score.optimal_brain_damage(loss, samples=2, key=jax.random.key(k))(w, *batch())
        for k in (1, 1, 2)
    )
    chex.assert_trees_all_equal(one, same, strict=True)
    assert (flat(one) != flat(other)).any()


def test_many_samples_in_bfloat16_are_all_counted():
    def parabola(w, x):
        return jnp.mean(x) * jnp.sum(w["w"] ** 2)

    scorer = score.optimal_brain_damage(parabola, samples=600)
    scores = scorer({"w": jnp.ones(3, jnp.bfloat16)}, jnp.ones(2, jnp.bfloat16))
    chex.assert_trees_all_equal(scores, {"w": jnp.ones(3, jnp.bfloat16)}, strict=True)


def test_leaves_without_weights_have_no_scores():
    w = {"none": jnp.zeros((0, 2)), "one": jnp.float32(2)}
    scores = score.optimal_brain_damage(lambda w, x: jnp.mean(x) * w["one"] ** 2)(w, jnp.ones(3))
    expected = {"none": jnp.zeros((0, 2)), "one": jnp.float32(4)}
    chex.assert_trees_all_equal(scores, expected, strict=True)


def test_wrong_arguments():
    with pytest.raises(InputError, match="samples is 0"):
        score.optimal_brain_damage(loss, samples=0)
