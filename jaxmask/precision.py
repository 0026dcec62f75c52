"""Which dtype to compute in: float32 or wider, whatever the weights are stored in.

bfloat16 counts to 256 only, a sum in float16 is infinite beyond 65,504, and JAX promotes neither
8-bit floats with others nor, under strict promotion, any two dtypes: so all casts are explicit.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def wide(dtype: Any) -> np.dtype:
    """float64 for float64, float32 for every other dtype.

    Example:
      >>> from jaxmask.precision import wide
      >>> wide("bfloat16").name, wide("float8_e5m2").name, wide("float64").name
      ('float32', 'float32', 'float64')
    """
    return np.dtype("float64" if np.dtype(dtype) == np.float64 else "float32")


def widened(x: Any) -> jax.Array:
    """The array in float32 or wider."""
    x = jnp.asarray(x)
    return x.astype(wide(x.dtype))


def common(arrays: Sequence[Any]) -> np.dtype:
    """A dtype that holds the numbers of all arrays exactly: their own, if they have one.

    Example:
      >>> from jaxmask.precision import common
      >>> common([jnp.ones(2, "float16"), jnp.ones(2, "bfloat16")]).name
      'float32'
    """
    dtypes = {np.dtype(array.dtype) for array in arrays}
    return dtypes.pop() if len(dtypes) == 1 else max(map(wide, dtypes), key=lambda d: d.itemsize)


def total(arrays: Sequence[jax.Array]) -> jax.Array:
    """The sum over all entries of all arrays, in float32 or wider.

    Example:
      >>> from jaxmask.precision import total
      >>> float(total([jnp.full(3, 60_000, "float16"), jnp.ones(2, "float8_e5m2")]))
      180002.0
    """
    wides = [widened(array) for array in arrays]
    dtype = common(wides) if wides else np.dtype("float32")
    return sum((jnp.sum(each).astype(dtype) for each in wides), jnp.zeros((), dtype))
