"""Numbers as integers of the same order: every dtype, every special number, to the last bit."""

import chex
import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxmask.mask.order import ordered

DTYPES = {"float8_e4m3fn": 32, "bfloat16": 16, "float16": 16, "float32": 32, "float64": 64}
EAGER, COMPILED = ordered, jax.jit(ordered)

# subnormals among them, which a compiler may take for 0
anything = st.floats(width=32, allow_nan=False) | st.floats(-(2.0**-126), 2.0**-126, width=32)


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_bit_pattern_is_in_its_place(dtype, x64):
    kind = np.dtype(getattr(ml_dtypes, dtype, dtype))
    rng = np.random.default_rng(0)
    # every number of 8 and 16 bits, and a sample of the larger
    wide = np.dtype(f"uint{8 * kind.itemsize}")
    bits = np.arange(2**16) if kind.itemsize <= 2 else rng.integers(0, 2**64, 2**16, np.uint64)
    numbers = bits.astype(wide).view(kind)
    found = np.asarray(COMPILED(jnp.asarray(numbers)))
    chex.assert_trees_all_equal(EAGER(jnp.asarray(numbers)), found, strict=True)
    chex.assert_shape(found, numbers.shape)
    chex.assert_type(found, f"uint{DTYPES[dtype]}")
    with np.errstate(invalid="ignore"):
        values = numbers.astype(np.float64)
    nan = np.isnan(values)
    assert (found[nan] == 1).all()
    assert (found[~nan] > 1).all()
    # equal integers for equal numbers, larger ones for larger numbers
    values, found = values[~nan], found[~nan]
    order = np.argsort(values, kind="stable")
    values, found = values[order], found[order]
    np.testing.assert_array_equal(found[1:] > found[:-1], values[1:] > values[:-1])
    np.testing.assert_array_equal(found[1:] == found[:-1], values[1:] == values[:-1])


@given(st.lists(anything, min_size=2, max_size=2))
@settings(max_examples=200)
def test_two_numbers_compare_as_their_integers_do(pair):
    a, b = np.float32(pair)
    for compare in (EAGER, COMPILED):
        x, y = np.asarray(compare(jnp.float32(pair)))
        assert (x < y, x == y, x > y) == (a < b, a == b, a > b)


def test_the_special_numbers_in_order(variant):
    tiny = np.finfo(np.float32).smallest_subnormal
    numbers = jnp.float32([np.nan, -np.inf, -1, -tiny, 0, tiny, 1, np.inf])
    found = np.asarray(variant(ordered)(numbers))
    assert (found[1:] > found[:-1]).all()
    assert found[0] == 1
    zeros = variant(ordered)(jnp.float32([0.0, -0.0]))
    assert zeros[0] == zeros[1]
    # 0 is for what may not be chosen at all
    nan = variant(ordered)(jnp.float32([np.nan, -np.nan]))
    assert nan.tolist() == [1, 1]


def test_vmap_equals_the_whole():
    numbers = jax.random.normal(jax.random.key(0), (4, 3, 2))
    chex.assert_trees_all_equal(jax.vmap(ordered)(numbers), ordered(numbers), strict=True)
