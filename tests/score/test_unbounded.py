"""Functions without upper bounds, against what they are where no bound is reached."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmask.errors import InputError
from jaxmask.score.unbounded import unbounded

TINY = 2.0**-20  # products with it are exact
X = np.linspace(-9, 11, 8, dtype=np.float32)


def doubled(carry, slope):
    return jax.nn.relu6(2 * carry) + slope, jnp.clip(carry, 0, 1)


@jax.custom_vjp
def straight(x):
    return jnp.clip(x, -1, 1)


straight.defvjp(lambda x: (straight(x), None), lambda _, g: (g,))


def residual(x):
    return (x + jax.nn.relu6(x)).reshape(4, 2) @ jnp.ones((2, 2))


FUNCTIONS = {
    "relu6": jax.nn.relu6,
    "clip": lambda x: jnp.clip(x, 0, 3),
    "clamp": lambda x: jax.lax.clamp(0.0, x, 5.0),
    "of several bounds": lambda x: jnp.minimum(jnp.arange(1.0, 9), jnp.minimum(3, x)),
    "computed": lambda x: jnp.minimum(x, jnp.sqrt(jnp.full(8, 4.0))),
    "residual": residual,
    "jit": jax.jit(lambda x: jax.jit(jax.nn.relu6)(3 * x) - x),
    "vmap": lambda x: jax.vmap(jax.nn.relu6)(x.reshape(2, 4)),
    "remat": jax.checkpoint(jax.nn.relu6),
    "scan": lambda x: jax.lax.scan(doubled, x, jnp.zeros(3)),
    "scan back": lambda x: jax.lax.scan(doubled, x, jnp.zeros(3), reverse=True)[1],
    "none": jax.nn.relu,
    "leaky": lambda x: jnp.maximum(x, 0) + 0.1 * jnp.minimum(x, 0),
    "of each other": lambda x: jnp.minimum(x, 2 * x[::-1]),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_it_is_what_is_left_for_small_values(name):
    function = FUNCTIONS[name]
    small = jax.tree.map(lambda y: y / TINY, function(X * TINY))
    for found in (unbounded(function)(X), jax.jit(unbounded(function))(X)):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), found, small)

    def total(function):
        return lambda x: sum(leaf.sum() for leaf in jax.tree.leaves(function(x)))

    slopes = jax.grad(total(unbounded(function)))(X)
    np.testing.assert_allclose(slopes, jax.grad(total(function))(X * TINY), rtol=1e-6)


def test_a_derivative_of_its_own_is_that_of_the_function_without_a_bound():
    np.testing.assert_array_equal(unbounded(straight)(X), np.maximum(X, -1))


@pytest.mark.parametrize(
    "function",
    [
        lambda x: jnp.minimum(x, -1),
        lambda x: jnp.clip(x, -4, 0),
        lambda x: x[jnp.minimum(jnp.round(abs(x)).astype(int), 3)],  # a place, not a value
    ],
)
def test_what_is_no_bound_of_an_activation_stays(function):
    np.testing.assert_array_equal(unbounded(function)(X), function(X))


def test_a_function_without_bounds_is_called_as_it_is():
    calls = []

    def function(x):
        calls.append(type(x))
        return {"y": x + 1}

    np.testing.assert_array_equal(unbounded(function)(X)["y"], X + 1)
    assert calls[-1] is np.ndarray


@pytest.mark.parametrize(
    ("function", "where"),
    [
        (lambda x: jax.lax.cond(x.sum() > 0, jax.nn.relu6, jax.nn.relu, x), "cond"),
        (lambda x: jax.lax.while_loop(lambda x: x.sum() < 9, jax.nn.relu6, x), "while"),
    ],
)
def test_a_bound_where_it_cannot_be_left_out_is_refused(function, where):
    with pytest.raises(InputError, match=f"upper bound of an activation is inside {where}"):
        unbounded(function)(X)
