"""Slopes: the mask stays, its gradient is that of the surrogate."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxmask import mask
from jaxmask.errors import InputError

SLOPES = {"clipped": mask.clipped(0.75), "sigmoid": mask.sigmoid(0.4)}


def derivative(name, x):
    """In numpy, from the formula."""
    if name == "clipped":
        return (np.abs(x) <= 0.75).astype(float)
    y = 1 / (1 + np.exp(-x / 0.4))
    return 4 * y * (1 - y)


@pytest.mark.parametrize(("name", "rescale"), [("clipped", False), ("sigmoid", True)])
def test_the_gradient_is_that_of_the_mask_times_the_slope(name, rescale):
    random = np.random.default_rng(3)
    scores = jnp.asarray(random.normal(0.2, 1, (5, 4)), jnp.float32)
    weights = jnp.asarray(random.normal(size=(5, 4)), jnp.float32)
    plain, sloped = (
        mask.threshold(0.2, rescale=rescale, slope=slope) for slope in (None, SLOPES[name])
    )

    def loss(tx):
        return lambda s: jnp.sum(jnp.sin(3 * tx.apply({"w": s}, {"w": weights})["w"]))

    np.testing.assert_array_equal(plain.mask({"w": scores})["w"], sloped.mask({"w": scores})["w"])
    wanted = jax.grad(loss(plain))(scores) * derivative(name, np.asarray(scores) - 0.2)
    np.testing.assert_allclose(jax.grad(loss(sloped))(scores), wanted, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(
        jax.jit(jax.grad(loss(sloped)))(scores), wanted, rtol=1e-4, atol=1e-6
    )


@pytest.mark.parametrize("name", SLOPES)
@given(st.floats(-3, 3).filter(lambda x: abs(abs(x) - 0.75) > 1e-2))
@settings(max_examples=20)
def test_the_slope_is_the_difference_quotient_of_its_function(name, x):
    slope, h = SLOPES[name], 1e-5
    with jax.enable_x64(True):
        x = jnp.asarray(x, "float64")
        found = jax.grad(slope)(x)
        quotient = (slope(x + h) - slope(x - h)) / (2 * h)
    if name == "clipped" and abs(x) > 0.75:  # outside, the function is a constant to the gradient
        assert found == 0
    else:
        np.testing.assert_allclose(found, quotient, rtol=1e-6)


def test_scores_at_the_very_edge_still_learn():
    slope = mask.clipped()
    assert [jax.grad(slope)(x).item() for x in (1.0, -1.0)] == [1, 1]


@pytest.mark.parametrize("made", [mask.clipped, mask.sigmoid])
@pytest.mark.parametrize("width", [0.0, -1, float("nan"), "wide"])
def test_widths_that_are_none(made, width):
    with pytest.raises(InputError, match="width"):
        made(width)
