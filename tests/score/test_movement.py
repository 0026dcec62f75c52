import jax
import numpy as np
from networks import agree, batch, flat, gradient, loss, moved, weights

from jaxmask import score

MOVEMENT = score.movement(loss)


def test_equals_backpropagation_by_hand(x64):
    w = weights()
    expected = jax.tree.map(lambda w, g: -np.asarray(w) * g, w, gradient(w, *batch()))
    agree(MOVEMENT(w, *batch()), expected)


def test_positive_where_gradient_descent_moves_a_weight_away_from_zero(x64):
    w = weights()
    after = moved(w, gradient(w, *batch()), -1e-4)
    grew = np.abs(flat(after)) > np.abs(flat(w))
    assert 0 < grew.sum() < grew.size
    np.testing.assert_array_equal(flat(MOVEMENT(w, *batch())) > 0, grew)
