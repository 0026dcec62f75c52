"""Sums beyond 2^32, against Python's integers."""

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxmask.mask.total import WORD, number, together, total

counts = st.lists(st.integers(0, 2**32 - 1), min_size=4, max_size=4)


def integer(found):
    return int(found.high) * WORD + int(found.low)


@given(st.lists(counts, min_size=1, max_size=5))
@settings(max_examples=30, deadline=None)
def test_equal_python(rows):
    expected = sum(map(sum, rows))
    array = jnp.asarray(np.array(rows, np.uint32))
    by_row = jax.vmap(lambda row: total(row, 4 * WORD))(array)
    assert [int(h) * WORD + int(low) for h, low in zip(*by_row)] == [sum(row) for row in rows]
    for found in (total(array, 20 * WORD), together([total(row, 4 * WORD) for row in array])):
        assert integer(found) == expected
        np.testing.assert_allclose(number(found), expected, rtol=2.0**-23)


def test_a_small_sum_is_exact_and_nothing_is_zero():
    assert integer(total(jnp.array([True, False, True]), 3)) == 2
    assert integer(together([])) == 0
    assert number(total(jnp.full(1, 2**24 + 2), 2**25)) == 2**24 + 2
