"""What SynFlow in many shots is for: it empties no layer before it must (Tanaka et al. 2020)."""

import functools
import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmask import prune, score

WIDTHS = (20, 100, 100, 5)


def forward(w, x):
    for index, kernel in enumerate(w):
        x = x @ kernel
        x = jax.nn.relu(x) if index < len(w) - 1 else x
    return x


def loss(w, x, y):
    return -jnp.mean(jax.nn.log_softmax(forward(w, x))[jnp.arange(len(y)), y])


@pytest.fixture
def problem():
    """Weights of Kaiming's normal distribution, and data.

    The flow through a unit is conserved, so that weights along one path tie. In 1024ths, float64
    holds every flow exactly, and rounding has no say in which of them goes.
    """
    rng = np.random.default_rng(0)
    with jax.enable_x64(True):
        w = [
            jnp.asarray(np.round(1024 * rng.normal(size=pair) * (2 / pair[0]) ** 0.5) / 1024)
            for pair in itertools.pairwise(WIDTHS)
        ]
        x = jnp.asarray(rng.normal(size=(64, WIDTHS[0])))
        yield w, x, jnp.asarray(rng.integers(0, WIDTHS[-1], 64))


SYNFLOW = score.synflow(lambda w: forward(w, jnp.ones(WIDTHS[0])))


def kept(prune_it, *arguments):
    """Weights left in each layer, and the mask."""
    mask, report = prune_it(*arguments)
    chex.assert_trees_all_equal_shapes(mask, arguments[0])
    assert (report.emptied > 0).tolist() == (report.kept[-1] == 0).tolist()
    return report.kept[-1].tolist(), mask


def test_a_density_at_which_others_empty_a_layer(problem):
    w, *data = problem
    density = 20 / sum(leaf.size for leaf in w)  # seven weights a layer, 400 times fewer than now
    shoot = functools.partial(prune.one_shot, density=density, report=True)
    assert 0 in kept(shoot(score.magnitude()), w)[0]
    assert 0 in kept(shoot(score.gradient_norm(loss)), w, *data)[0]
    assert 0 in kept(shoot(SYNFLOW), w)[0]
    many = prune.multi_shot(SYNFLOW, density, 100, report=True)
    counts, mask = kept(many, w)
    assert sum(counts) == 20
    assert min(counts) >= 5
    # not only is something left in each layer: it still connects inputs to outputs
    left = jax.tree.map(jnp.multiply, mask, w)
    assert (forward(jax.tree.map(jnp.abs, left), jnp.ones(WIDTHS[0])) > 0).any()
