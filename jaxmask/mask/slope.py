"""Slopes of the straight-through estimator: how much of a mask's gradient a score gets.

A slope is an elementwise function f, and the mask is differentiated as if it were `f(s - mu)`:
`dL/ds := dL/dm * f'(s - mu)`. The mask itself does not change. Without a slope, f' is 1.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from jaxmask.errors import InputError, check_numbers

Slope = Callable[[jax.Array], jax.Array]


def clipped(width: float = 1.0) -> Slope:
    """`f'(x) = 1[|x| <= width]`: a score beyond is not moved any more.

    As for binary activations (Hubara et al. 2016, https://arxiv.org/abs/1602.02830), where the
    width is 1. A score may leave the interval and then stays, so initial scores must lie in it.

    Raises:
      InputError: for a width that is not a number above 0.

    Example:
      >>> jax.grad(lambda x: jnp.sum(mask.clipped(2.0)(x)))(jnp.array([-3.0, 1.0])).tolist()
      [0.0, 1.0]
    """
    _check_width("clipped", width)

    def clip(x: jax.Array) -> jax.Array:
        inside = jnp.abs(x) <= width
        return jnp.where(inside, x, lax.stop_gradient(x))

    return clip


def sigmoid(width: float = 1.0) -> Slope:
    """`f'(x) = 4 y (1 - y)`, `y = 1 / (1 + exp(-x / width))`: 1 at the threshold, falling off it.

    The derivative of a sigmoid in place of that of a step, scaled to 1 at its top, so that rates
    compare; the estimator of soft-to-hard masks and of spiking networks (Neftci et al. 2019,
    https://arxiv.org/abs/1901.09948). At a distance of `width` it is 0.79, of 3 widths 0.18.

    Raises:
      InputError: for a width that is not a number above 0.

    Example:
      >>> round(jax.grad(mask.sigmoid())(1.0).item(), 4)
      0.7864
    """
    _check_width("sigmoid", width)
    return lambda x: 4 * width * jax.nn.sigmoid(x / width)


def _check_width(name: str, width: float) -> None:
    check_numbers(f"{name}: width", [width])
    if width <= 0:
        raise InputError(f"{name}: width is {width}; give a number above 0")
