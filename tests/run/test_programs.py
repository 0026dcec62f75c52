"""The program cache."""

from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxmask.run import programs


@pytest.fixture(autouse=True)
def empty(monkeypatch):
    monkeypatch.setattr(programs, "_MADE", {})


def test_what_was_made_for_an_identity_is_given_again():
    made = []

    def build():
        made.append(object())
        return made[-1]

    first = programs.shared("training", ("a", 1), build)
    assert programs.shared("training", ("a", 1), build) is first
    assert programs.shared("training", ("a", 2), build) is not first
    assert programs.shared("scorer", ("a", 1), build) is not first
    assert len(made) == 3


def test_none_is_made_once_too():
    made = []
    for _ in range(2):
        programs.shared("training", "nothing", lambda: made.append(1))
    assert made == [1]


def test_what_could_not_be_made_is_tried_again():
    def failing():
        raise RuntimeError

    with pytest.raises(RuntimeError):
        programs.shared("training", "a", failing)
    assert programs.shared("training", "a", lambda: 5) == 5


@settings(max_examples=50)
@given(st.lists(st.integers(0, 6), max_size=60), st.integers(1, 4))
def test_the_one_not_used_for_longest_is_forgotten(asked, at_most):
    """Against a list in the order of use."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(programs, "AT_MOST", at_most)
        patch.setattr(programs, "_MADE", {})
        numbers, order, values = count(), [], {}
        for name in asked:
            found = programs.shared("kind", name, numbers.__next__)
            if name in order:
                order.remove(name)
                assert found == values[name]
            else:
                assert found not in values.values()
            order.append(name)
            values[name] = found
            del order[:-at_most]


def test_forgetting_makes_all_anew():
    first = programs.shared("training", "a", object)
    programs.forget()
    assert programs.shared("training", "a", object) is not first
