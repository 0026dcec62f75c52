"""What tests of convolutions take of each: its value and all of its derivatives."""

import jax
import jax.numpy as jnp


def derivatives(convolve):
    """Value, both gradients, and the gradient of a gradient, which multiplies all over again."""

    def step(images, kernel):
        value, pull = jax.vjp(convolve, images, kernel)
        again = jax.grad(lambda k: jnp.sin(jax.vjp(convolve, images, k)[1](value)[0]).sum())(kernel)
        return value, pull(jnp.cos(value)), again

    return step
