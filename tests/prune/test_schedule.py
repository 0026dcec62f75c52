"""How density falls: the formulas, and what is no schedule."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxmask import prune
from jaxmask.errors import InputError

shares = st.floats(0.001, 1)


@given(shares, shares, st.integers(1, 40))
@settings(max_examples=50)
def test_formulas(one, other, shots):
    end, begin = sorted((one, other))
    parts = np.arange(1, shots + 1) / shots
    exponential = prune.densities(end, shots, begin=begin)
    np.testing.assert_allclose(exponential, begin * (end / begin) ** parts, rtol=1e-12)
    linear = prune.densities(end, shots, "linear", begin)
    np.testing.assert_allclose(linear, begin - (begin - end) * parts, rtol=1e-12)
    for course in (exponential, linear):
        assert course[-1] == end
        assert all(begin >= a >= b >= end for a, b in zip([begin, *course], course))


def test_by_hand():
    np.testing.assert_allclose(prune.densities(0.001, 3), [0.1, 0.01, 0.001])
    np.testing.assert_allclose(prune.densities(0.2, 4, "linear"), [0.8, 0.6, 0.4, 0.2])
    np.testing.assert_allclose(prune.densities(0.125, 2, begin=0.5), [0.25, 0.125])
    assert prune.densities(1, 3) == [1, 1, 1]
    assert prune.densities(0.3, 1) == [0.3]
    assert prune.densities(0.5, np.int64(2), begin=0.5) == [0.5, 0.5]
    # the last share is what was asked for, not a number near it
    assert prune.densities(Fraction(1, 3), 5)[-1] == Fraction(1, 3)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((0, 1), "density 0; give the share"),
        ((1.5, 1), "density 1.5; give the share"),
        ((-0.1, 1), "density -0.1"),
        (("half", 1), "density 'half'"),
        ((0.5, 2, "linear", 0.25), "density 0.5 is above the 0.25 that is left"),
        ((0.5, 2, "linear", 0), "begin 0; give the share"),
        ((0.5, 0), "shots is 0; give a whole number"),
        ((0.5, -3), "shots is -3"),
        ((0.5, 2.5), "shots is 2.5"),
        ((0.5, True), "shots is True"),
        ((0.5, 2, "exponentail"), "unknown schedule 'exponentail'.*exponential"),
    ],
)
def test_wrong_arguments(arguments, words):
    with pytest.raises(InputError, match=words):
        prune.densities(*arguments)
    with pytest.raises(InputError, match=words):
        prune.multi_shot(lambda w: w, *arguments[:3], begin=arguments[3] if arguments[3:] else 1)
