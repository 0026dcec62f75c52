"""Which runs are stacked, and who does them next."""

from jaxmask.engine.batches import Batch, batches, choose


def test_a_grid_is_cut_in_its_order_whatever_is_finished():
    names = list("abcdefg")
    for left in ("abcdefg", "aceg", "bg", ""):
        planned = {name: () for name in reversed(left)}
        found = [batch.names for batch in batches(names, planned, 3)]
        whole = [tuple("abc"), tuple("def"), ("g",)]
        cut = [tuple(name for name in each if name in left) for each in whole]
        assert found == [each for each in cut if each]


def test_a_worker_prefers_what_it_has_compiled_then_what_nobody_has():
    a, b, c = (Batch((name,), frozenset(name)) for name in "abc")
    again = Batch(("d",), a.kind)
    pending = [a, b, c, again]
    assert choose(pending, {c.kind}, {a.kind}) is c
    assert choose(pending, set(), {a.kind}) is b
    assert choose(pending, {a.kind}, set()) is a
    assert choose([a, b], set(), {a.kind, b.kind}) is a


def test_runs_that_need_the_same_programs_are_of_one_kind(small_plan):
    planned = {"a": [small_plan], "b": [small_plan._replace(steps=9)],
               "c": [small_plan._replace(batch_size=2)]}  # fmt: skip
    a, b, c = batches("abc", planned, 1)
    assert a.kind == b.kind != c.kind
