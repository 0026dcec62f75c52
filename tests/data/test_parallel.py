"""Ordered work in threads; no test waits for a time."""

import threading

import numpy as np
import pytest

from jaxmask.data import parallel
from jaxmask.data.parallel import cores, in_order, with_progress


@pytest.fixture(autouse=True)
def three_cores(monkeypatch):
    monkeypatch.setattr(parallel, "cores", lambda: 3)


def test_there_is_a_core():
    assert cores() >= 1


def test_results_come_in_the_order_of_items_whatever_is_done_first():
    """The first item is done only after the second has been."""
    second = threading.Event()

    def work(item):
        if item == 0:
            assert second.wait(60)
        if item == 1:
            second.set()
        return item * item

    assert list(in_order(work, range(20))) == [item * item for item in range(20)]


def test_few_items_are_taken_before_their_results_are():
    taken = []

    def items():
        for item in range(100):
            taken.append(item)
            yield item

    results = in_order(lambda item: item, items())
    assert taken == []
    for index in range(100):
        assert next(results) == index
        assert len(taken) <= index + 1 + 3 + 1
    with pytest.raises(StopIteration):
        next(results)


def test_an_error_comes_in_the_place_of_its_item_and_ends_all():
    taken = []

    def items():
        for item in range(100):
            taken.append(item)
            yield item

    def work(item):
        if item == 5:
            raise ZeroDivisionError("five")
        return item

    results = in_order(work, items())
    assert [next(results) for _ in range(5)] == [0, 1, 2, 3, 4]
    with pytest.raises(ZeroDivisionError, match="five"):
        next(results)
    assert len(taken) < 20


def test_what_is_left_when_the_caller_stops_is_not_begun():
    began, release = [], threading.Event()

    def work(item):
        began.append(item)
        if item > 0:
            assert release.wait(60)
        return item

    results = in_order(work, range(100))
    assert next(results) == 0
    release.set()
    results.close()
    assert max(began) <= 5


def test_no_items_give_nothing():
    assert list(in_order(print, [])) == []


def test_progress_counts_labels_and_passes_chunks_on(monkeypatch):
    import rich.progress

    told = []
    real = rich.progress.Progress.advance
    monkeypatch.setattr(
        rich.progress.Progress, "advance",
        lambda bar, task, count: (told.append(count), real(bar, task, count))[1],
    )  # fmt: skip
    chunks = [(np.zeros((2, 1, 1, 1)), np.zeros(2)), (None, np.zeros(3))]
    found = list(with_progress(iter(chunks), 5, "decoding"))
    assert all(a is b for one, other in zip(found, chunks) for a, b in zip(one, other))
    assert told == [2, 3]
