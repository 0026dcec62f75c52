import threading
import time

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxmask.errors import InputError
from jaxmask.train import feed


@given(st.integers(1, 500), st.integers(1, 64), st.integers(0, 5))
def test_an_epoch_shows_every_example_at_most_once_and_drops_a_partial_batch(n, batch, epoch):
    order = feed.shuffled_order(3, epoch, n, batch)
    assert order.shape == (n // batch, batch)
    assert len(np.unique(order)) == order.size
    np.testing.assert_array_equal(order, feed.shuffled_order(3, epoch, n, batch))


def test_order_differs_by_epoch_and_seed():
    orders = {feed.shuffled_order(*where, 100, 10).tobytes() for where in ((0, 0), (0, 1), (1, 0))}
    assert len(orders) == 3


@given(st.integers(0, 500), st.integers(1, 64))
def test_evaluation_counts_every_example_once(n, batch):
    order, valid = feed.complete_order(n, batch)
    assert sorted(order[valid]) == list(range(n))
    assert order.max(initial=0) < max(n, 1)
    assert order.shape[0] == -(-n // batch)


@given(st.integers(1, 2000), st.integers(1, 300))
def test_cuts_add_up_and_need_at_most_two_programs(steps, about):
    lengths = feed.cut(steps, about)
    assert sum(lengths) == steps
    assert max(lengths) <= 2 * about
    assert max(lengths) - min(lengths) <= 1
    assert min(lengths) >= min(steps, about) // 3


def test_a_cut_with_one_length_is_preferred():
    assert feed.cut(31, 20) == [31]
    assert feed.cut(100, 30) == [25] * 4
    assert set(feed.cut(937, 10)) == {9, 10}


def test_resident_and_streamed_feeds_give_the_same_batches():
    images = np.random.default_rng(0).integers(0, 255, (50, 2, 2, 1), np.uint8)
    labels = np.arange(50, dtype=np.int32)

    class Split:
        pass

    split = Split()
    split.images, split.labels = images, labels

    def stream(split, order, lengths):
        for piece in np.split(order, np.cumsum(lengths)[:-1]):
            yield split.images[piece], split.labels[piece]

    mesh = feed.make_mesh()
    order = feed.shuffled_order(0, 0, 50, 8)
    there, beside = feed.resident(images, labels, mesh), feed.streamed(split, stream, mesh)
    for xs, chunk in zip(there.chunks(order, [4, 2]), beside.chunks(order, [4, 2]), strict=True):
        for step in range(len(xs)):
            got = there.fetch(there.resident, xs[step])
            batch = beside.fetch((), jax.tree.map(lambda leaf, step=step: leaf[step], chunk))
            np.testing.assert_array_equal(got[0], batch[0])
            np.testing.assert_array_equal(got[1], batch[1])


def test_invalid_batch_sizes_are_refused():
    mesh = feed.make_mesh()
    with pytest.raises(InputError, match="positive multiple"):
        feed.check_batch(0, 10, mesh)
    with pytest.raises(InputError, match="more than the 10 training examples"):
        feed.check_batch(64, 10, mesh)


def test_only_one_chunk_is_made_ahead():
    made = []

    def chunks():
        for index in range(5):
            made.append((index, threading.get_ident()))
            yield index

    waits = []
    for index in feed.ahead(chunks(), waits.append):
        deadline = time.monotonic() + 10
        while len(made) < min(index + 2, 5) and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(0.01)
        assert len(made) == min(index + 2, 5)
    assert [index for index, _ in made] == list(range(5))
    assert threading.get_ident() not in {thread for _, thread in made}
    assert len(waits) == 6  # the last one finds no more data
    assert sum(waits[1:]) < 5


def test_waiting_and_errors_are_reported():
    def chunks():
        yield 1
        time.sleep(0.2)
        yield 2
        raise ValueError("damaged")

    waits = []
    pieces = feed.ahead(chunks(), waits.append)
    assert [next(pieces), next(pieces)] == [1, 2]
    assert waits[1] > 0.1 > waits[0]
    with pytest.raises(ValueError, match="damaged"):
        next(pieces)


def test_unused_chunks_end_their_thread():
    before = threading.active_count()
    pieces = feed.ahead(iter(range(100)), lambda seconds: None)
    next(pieces)
    assert threading.active_count() == before + 1
    pieces.close()
    assert threading.active_count() == before


@given(st.integers(1, 60), st.integers(1, 16), st.integers(0, 4), st.data())
def test_members_are_passed_over_in_new_orders_through_all_epochs(n, batch, epochs, data):
    members = np.array(sorted(data.draw(st.sets(st.integers(0, n - 1), min_size=1))))
    whole = feed.Feed(n, (), None, None, None)
    part = whole._replace(members=members)
    orders = [feed.training_order(part, 3, epoch, batch) for epoch in range(epochs)]
    assert all(order.shape == (n // batch, batch) for order in orders)  # as long as all examples
    seen = np.concatenate([order.ravel() for order in orders]) if orders else np.zeros(0, int)
    full = len(seen) // len(members) * len(members)
    for one in np.split(seen[:full], max(full // len(members), 1)) if full else ():
        np.testing.assert_array_equal(np.sort(one), members)  # each pass has every member once
    rest = seen[full:]
    assert len(np.unique(rest)) == len(rest)
    assert set(rest) <= set(members)
    for epoch in range(epochs):
        np.testing.assert_array_equal(
            feed.training_order(whole, 3, epoch, batch), feed.shuffled_order(3, epoch, n, batch)
        )


def test_orders_of_members_differ_from_pass_to_pass_and_by_seed():
    part = feed.Feed(20, (), None, None, None, np.arange(10))
    one = feed.training_order(part, 0, 0, 10)
    assert one[0].tolist() != one[1].tolist()
    assert one.tobytes() != feed.training_order(part, 1, 0, 10).tobytes()
