"""GraSP: the product of weight, Hessian and gradient."""

import jax
import jax.numpy as jnp
import numpy as np
from networks import agree, batch, curvature, flat, gradient, loss, unflat, weights

from jaxmask import score

GRASP = score.grasp(loss)


def test_equals_finite_differences_of_backpropagation_by_hand(x64):
    w = weights()
    curved = curvature(w, gradient(w, *batch()), *batch())
    expected = jax.tree.map(lambda w, h: np.asarray(w) * h, w, curved)
    assert (flat(expected) < 0).any()
    agree(GRASP(w, *batch()), expected, rtol=1e-6, atol=1e-10)
    absolute = score.grasp(loss, absolute=True)(w, *batch())
    agree(absolute, jax.tree.map(np.abs, expected), rtol=1e-6, atol=1e-10)


def test_tells_how_the_gradient_shrinks_as_a_weight_does(x64):
    w = weights()
    scores = flat(GRASP(w, *batch()))

    def flow(vector):
        return (flat(gradient(unflat(vector, w), *batch())) ** 2).sum()

    for index in (0, 10, 30, 50):
        step = 1e-6 * np.eye(flat(w).size)[index] * flat(w)
        change = (flow(flat(w) - step) - flow(flat(w) + step)) / 2e-6
        np.testing.assert_allclose(change, -2 * scores[index], rtol=1e-5, atol=1e-10)


def test_a_temperature_of_the_logits_is_another_ranking(x64):
    def warm(w, x, y):
        second = jax.tree.map(lambda leaf: leaf / 200, w["second"])
        return loss({**w, "second": second}, x, y)

    cold, hot = (np.argsort(flat(f(weights(), *batch()))) for f in (GRASP, score.grasp(warm)))
    assert not jnp.array_equal(cold, hot)
