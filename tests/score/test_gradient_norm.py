import jax
import numpy as np
from networks import agree, batch, gradient, loss, weights

from jaxmask import score


def test_equals_backpropagation_by_hand(x64):
    w = weights()
    agree(score.gradient_norm(loss)(w, *batch()), jax.tree.map(np.abs, gradient(w, *batch())))
