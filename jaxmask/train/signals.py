"""SIGTERM and Ctrl-C during training: noted at once, handled between scans."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from jaxmask.errors import Interrupted


@contextmanager
def deferred() -> Iterator[list[int]]:
    """In the context, SIGTERM and SIGINT are added to the list; a second one acts at once.

    Signals can only be handled in the main thread; elsewhere the list stays empty.
    """
    received: list[int] = []

    def note(number: int, _: FrameType | None) -> None:
        if received:
            raise Interrupted(number)
        received.append(number)

    try:
        before = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
    except ValueError:
        yield received
        return
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
