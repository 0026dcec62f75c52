"""Checks at the door: what they let in, exactly, and what they say to the rest."""

import math
from decimal import Decimal
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxmask.errors import InputError
from jaxmask.mask import check

quick = settings(max_examples=50)


def test_a_leaf_that_is_not_floating_point_is_named():
    good = {"a": jnp.ones(2), "b": [np.zeros((), np.float64), jnp.ones(1, jnp.bfloat16)]}
    check.require_floating({**good, "hole": None}, "scores")
    check.require_floating(jax.eval_shape(lambda: good), "scores")
    check.require_floating({}, "scores")
    for wrong, kind in (
        (jnp.arange(2), "int32"),
        (jnp.ones(2, bool), "bool"),
        (jnp.ones(2, jnp.complex64), "complex64"),
        (1.0, "float"),
        ("text", "str"),
    ):
        words = f"^scores: 'b/c' is {kind}, not a floating-point array; .*tree.partition$"
        with pytest.raises(InputError, match=words):
            check.require_floating({"a": jnp.ones(2), "b": {"c": wrong}}, "scores")


def test_scopes_are_three():
    for scope in ("global", "layer", "erk"):
        check.check_scope(scope)
    for wrong in ("Global", "", None, 1):
        with pytest.raises(InputError, match=r"scope .*'global', 'layer', 'erk'"):
            check.check_scope(wrong)


@given(st.integers(1, 10**6))
@quick
def test_a_density_is_the_decimal_that_it_is_written_as(millionths):
    exact = Fraction(millionths, 10**6)
    number = millionths / 10**6
    for density in (number, np.float64(number), Decimal(millionths) / 10**6, exact):
        assert check.check_density(density) == exact
    # float32 has seven digits, six of which it always keeps
    for density in (np.float32(number), jnp.float32(number), np.array(number, np.float32)):
        assert check.check_density(density) == exact


@given(st.floats(0, 1, exclude_min=True))
@quick
def test_every_density_in_reach_is_let_in_to_the_last_bit(density):
    assert float(check.check_density(density)) == density


@given(
    st.floats(max_value=0)
    | st.floats(min_value=math.nextafter(1, 2))
    | st.sampled_from([float("nan"), None, "half", "1/0", [0.5], (0.5, 0.5), 2, -1, 1j, object()])
)
@quick
def test_every_density_out_of_reach_is_refused_by_its_name(density):
    with pytest.raises(InputError, match=r"^share .* in \(0, 1\]$"):
        check.check_density(density, "share")


def test_settings_become_integers_of_python():
    found = check.integers([3, np.int64(4), np.uint8(5), jnp.int32(6), True], "block")
    assert found == (3, 4, 5, 6, 1)
    assert all(type(number) in (int, bool) for number in found)
    for wrong in ([1.0], [None], ["4"], [np.array([1, 2])], 4):
        with pytest.raises(InputError, match=r"^block .*; give integers, not traced$"):
            check.integers(wrong, "block")
    with pytest.raises(InputError, match="not traced"):
        jax.jit(lambda n: check.integers([n], "axis"))(3)


def test_rescale_is_one_of_three():
    for rescale in (True, False, "constant"):
        check.check_rescale(rescale)
    for wrong in (1, 0, None, "true", np.True_):
        with pytest.raises(InputError, match=r"rescale .*; give one of True, 'constant', False"):
            check.check_rescale(wrong)


def test_a_threshold_is_one_number():
    for mu in (
        0,
        -1.5,
        np.float32(2),
        jnp.float32(3),
        np.inf,
        -np.inf,
        np.int8(1),
        jnp.bfloat16(1),
    ):
        check.check_mu(mu)
    jax.jit(check.check_mu)(0.5)
    for wrong in (None, "0", float("nan"), np.float32("nan"), [0.0], jnp.ones(2), jnp.ones((1, 1))):
        with pytest.raises(InputError, match=r"^mu .*; give the threshold, one number"):
            check.check_mu(wrong)
    with pytest.raises(InputError, match="one number"):
        jax.jit(check.check_mu)(jnp.ones(2))
