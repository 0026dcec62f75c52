"""What ends a run early, and the help that messages give."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxmask.errors import InputError, Interrupted, check_numbers, is_name, is_text, nearest


def test_an_input_error_is_a_value_error_and_an_interruption_is_none():
    assert issubclass(InputError, ValueError)
    assert not issubclass(Interrupted, ValueError)
    stop = Interrupted(15)
    assert (stop.number, str(stop)) == (15, "signal 15")


def test_an_error_told_with_its_place_keeps_its_other_way():
    plain, other = InputError("x is 3").at("here"), InputError("y is 4", "or give z").at("there")
    assert (type(plain), str(plain), plain.otherwise) == (InputError, "here: x is 3", "")
    assert (str(other), other.otherwise) == ("there: y is 4", "or give z")


@pytest.mark.parametrize(
    ("name", "known", "told"),
    [
        ("snap", ["snip", "grasp", "random"], "; did you mean 'snip'"),
        ("snap", [], ""),
        ("xyz", ["b", "a"], "; known: a, b"),
        ("snip", ["snip"], "; did you mean 'snip'?"),
    ],
)
def test_the_closest_names_are_told_or_all_of_a_short_list(name, known, told):
    assert nearest(name, known).startswith(told)
    assert (nearest(name, known) == "") is (known == [])


def test_three_names_at_most_and_of_a_long_list_always_some():
    many = [f"network{index}" for index in range(30)]
    assert nearest("network", many).count("'") == 2 * 3
    far = nearest("zzz", many)
    assert far.startswith("; did you mean ")
    assert far.count("'") == 2 * 3
    assert "known:" not in far


NUMBERS = st.integers() | st.floats() | st.booleans() | st.none() | st.text(max_size=3)


@given(st.lists(NUMBERS, max_size=4), st.sampled_from([-math.inf, 0, 1.5]))
def test_numbers_are_finite_at_least_the_least_and_no_truths(values, least):
    good = all(
        type(value) in (int, float) and math.isfinite(value) and value >= least for value in values
    )
    if good:
        check_numbers("field", values, least)
        return
    with pytest.raises(InputError, match=r"^field has ") as error:
        check_numbers("field", values, least)
    assert ("at least" in str(error.value)) is math.isfinite(least)


@given(st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"])))
def test_a_text_has_neither_control_characters_nor_line_ends(value):
    assert is_text(value)
    assert is_name(value) is (value.strip() != "")
    assert len(f"{value}.".splitlines()) == 1
    for wrong in ("\ud800", "\x00", "\x1b", "\n", "\x85", "\u2029"):
        assert not is_text(value + wrong)


def test_a_text_is_not_longer_than_allowed_and_nothing_else_is_one():
    assert is_text("a" * 4096)
    assert not is_text("a" * 4097)
    assert not any(map(is_text, (None, 3, b"a", ["a"])))
