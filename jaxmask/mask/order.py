"""Floating-point numbers as integers of the same order, to compare and count exactly."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax


def ordered(x: jax.Array) -> jax.Array:
    """Unsigned integers in the order of the numbers; NaN is 1, below all numbers; 0 is unused.

    -0.0 and 0.0 give the same integer. Integers have as many bits as the numbers, at least 16.

    Example:
      >>> from jaxmask.mask.order import ordered
      >>> jnp.argsort(ordered(jnp.array([2.0, -jnp.inf, jnp.nan, -1.0]))).tolist()
      [2, 1, 3, 0]
    """
    if jnp.finfo(x.dtype).bits < 16:
        x = x.astype(jnp.float32)
    info = jnp.finfo(x.dtype)
    unsigned = np.dtype(f"uint{info.bits}").type
    sign = unsigned(1 << (info.bits - 1))
    infinity = unsigned(np.array(np.inf, x.dtype).view(unsigned))
    bits = lax.bitcast_convert_type(x, unsigned)
    # On the bits, as the compiler may replace x + 0 by x, or a subnormal by 0.
    is_nan = (bits & ~sign) > infinity
    bits = jnp.where(bits == sign, unsigned(0), bits)
    return jnp.where(is_nan, unsigned(1), jnp.where(bits >= sign, ~bits, bits | sign))
