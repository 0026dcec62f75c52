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


@pytest.fixture
def mapped(monkeypatch, tmp_path):
    """A function that sets how many memory maps this process has, of at most 100."""
    (tmp_path / "limit").write_text("100\n")
    monkeypatch.setattr(programs, "LIMIT", tmp_path / "limit")
    monkeypatch.setattr(programs, "MAPS", tmp_path / "maps")
    return lambda count: (tmp_path / "maps").write_text("0-1 r--p\n" * count)


def test_programs_are_forgotten_near_the_limit_of_memory_maps(mapped):
    programs.shared("training", "a", object)
    mapped(int(100 * programs.NEAR))
    programs.relieve()
    assert programs._MADE
    mapped(90)
    programs.relieve()
    assert not programs._MADE


def test_a_system_without_the_limit_needs_no_relief(monkeypatch, tmp_path):
    monkeypatch.setattr(programs, "LIMIT", tmp_path / "none")
    programs.shared("training", "a", object)
    programs.relieve()
    assert programs._MADE


@pytest.mark.skipif(not programs.MAPS.exists(), reason="it reads /proc")
def test_forgetting_frees_memory_maps(monkeypatch):
    import jax

    def maps():
        return len(programs.MAPS.read_text().splitlines())

    made = [programs.shared("f", i, lambda i=i: jax.jit(lambda x: x * i + 1)) for i in range(20)]
    before = maps()
    for each in made:
        each(1.0)
    compiled = maps()
    assert compiled > before
    del made, each
    monkeypatch.setattr(programs, "NEAR", 0.0)
    programs.relieve()
    assert maps() < compiled
