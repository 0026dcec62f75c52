"""Sums of counts that are exact beyond 2^32, where JAX has no 64-bit integers."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

WORD = 2**32


class Total(NamedTuple):
    """The number `high * 2^32 + low`, in uint32 scalars."""

    high: jax.Array
    low: jax.Array


def total(counts: jax.Array, most: int) -> Total:
    """The sum of integers that are not negative; `most` is a bound that is known beforehand."""
    if most < WORD:
        return Total(jnp.uint32(0), jnp.sum(counts, dtype=jnp.uint32))
    low = counts.astype(jnp.uint32)
    return _add_up(Total(jnp.zeros_like(low), low))


def together(totals: list[Total]) -> Total:
    """The sum of totals."""
    if not totals:
        return Total(jnp.uint32(0), jnp.uint32(0))
    return _add_up(Total(*(jnp.stack(words) for words in zip(*totals))))


def number(value: Total) -> jax.Array:
    """As a floating-point number of the default precision, correct to its last bit but one."""
    kind = jnp.result_type(float)
    return value.high.astype(kind) * float(WORD) + value.low.astype(kind)


def _add_up(value: Total) -> Total:
    axes = tuple(range(value.low.ndim))
    return Total(*lax.reduce([*value], [np.uint32(0)] * 2, _plus, axes))


def _plus(a: Any, b: Any) -> list[jax.Array]:
    low = a[1] + b[1]
    return [a[0] + b[0] + (low < b[1]).astype(jnp.uint32), low]
