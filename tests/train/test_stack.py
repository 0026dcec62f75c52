"""Trees and data of several runs along a new first axis."""

import chex
import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from jaxmask.train import stack
from jaxmask.train.feed import Feed

LEAF = arrays.arrays(np.float32, (2, 3), elements=st.floats(-9, 9, width=32))


@given(st.lists(st.fixed_dictionaries({"a": LEAF, "b": st.tuples(LEAF), "hole": st.none()}),
                min_size=2, max_size=4))  # fmt: skip
def test_each_run_is_one_row(trees):
    found = stack.stacked(trees)
    chex.assert_shape([found["a"], found["b"][0]], (len(trees), 2, 3))
    for index, tree in enumerate(trees):
        row = {"a": found["a"][index], "b": (found["b"][0][index],), "hole": None}
        chex.assert_trees_all_equal(row, tree)


def test_a_single_run_is_not_stacked_and_none_is_nothing():
    only = {"a": np.ones(2)}
    assert stack.stacked([only]) is only
    assert stack.stacked([]) == ()


def test_every_feed_gives_its_own_order_in_the_same_pieces():
    def feed(name):
        def chunks(order, lengths):
            return iter(name + piece for piece in np.split(order, np.cumsum(lengths)[:-1]))

        return Feed(4, (), None, chunks, None)

    orders = [np.arange(6).reshape(3, 2), np.arange(6)[::-1].reshape(3, 2)]
    found = list(stack.chunks([feed(100), feed(200)], orders, [2, 1]))
    assert [each.tolist() for each in found] == [
        [[[100, 101], [102, 103]], [[205, 204], [203, 202]]],
        [[[104, 105]], [[201, 200]]],
    ]
    alone = list(stack.chunks([feed(100)], orders[:1], [3]))
    assert [each.tolist() for each in alone] == [[[100, 101], [102, 103], [104, 105]]]


def test_an_average_is_of_every_number():
    found = stack.average([{"loss": 1.0, "accuracy": 0.5}, {"loss": 2.0, "accuracy": 1.0}])
    assert found == {"loss": 1.5, "accuracy": 0.75}
