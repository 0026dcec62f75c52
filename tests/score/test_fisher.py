"""Fisher: squares of gradients of single examples."""

import jax
import numpy as np
from networks import agree, batch, gradient, loss, weights

from jaxmask import score


def test_equals_the_gradients_of_single_examples_by_hand(x64):
    w, (x, y) = weights(), batch()
    each = [gradient(w, x[i : i + 1], y[i : i + 1]) for i in range(len(x))]
    squares = jax.tree.map(lambda *leaves: np.mean(np.square(leaves), axis=0), *each)
    expected = jax.tree.map(lambda w, f: np.asarray(w) ** 2 * f, w, squares)
    agree(score.fisher(loss)(w, x, y), expected)
    # a square of the mean would be another score
    assert (expected["first"]["kernel"] > np.square(gradient(w, x, y)["first"]["kernel"])).any()


def test_all_examples_at_once(x64):
    agree(score.fisher(loss, None)(weights(), *batch()), score.fisher(loss)(weights(), *batch()))
