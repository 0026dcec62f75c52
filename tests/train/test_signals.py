"""SIGTERM and Ctrl-C are noted, and handlers put back."""

import os
import signal
import threading

import pytest

from jaxmask.errors import Interrupted
from jaxmask.train.signals import deferred

BOTH = (signal.SIGTERM, signal.SIGINT)


@pytest.fixture(autouse=True)
def handlers():
    """A signal that nobody notes fails the test instead of ending it."""

    def unheard(number, frame):
        raise AssertionError(f"nobody noted {number}")

    before = {number: signal.signal(number, unheard) for number in BOTH}
    yield unheard
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", BOTH)
def test_a_signal_is_noted_and_work_goes_on(number, handlers):
    with deferred() as received:
        assert received == []
        os.kill(os.getpid(), number)
        assert received == [number]
    assert signal.getsignal(number) is handlers


@pytest.mark.parametrize("second", BOTH)
def test_a_second_one_acts_at_once(second, handlers):
    reached = []

    def work():
        with deferred():
            os.kill(os.getpid(), signal.SIGTERM)
            reached.append("after one")
            os.kill(os.getpid(), second)
            reached.append("after two")

    with pytest.raises(Interrupted) as stop:
        work()
    assert reached == ["after one"]
    assert stop.value.number == second
    assert [signal.getsignal(number) for number in BOTH] == [handlers, handlers]


def test_handlers_are_put_back_after_an_error(handlers):
    with pytest.raises(ZeroDivisionError), deferred():
        raise ZeroDivisionError
    assert [signal.getsignal(number) for number in BOTH] == [handlers, handlers]


def test_another_thread_hears_nothing_and_changes_nothing(handlers):
    found = []

    def work():
        with deferred() as received:
            found.append((received, signal.getsignal(signal.SIGTERM)))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [([], handlers)]
