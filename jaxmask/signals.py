"""SIGTERM and Ctrl-C: a handler notes them and does no more; work looks where it can stop.

A handler must not raise: JAX calls Python in places that discard exceptions, and the run would go
on. Long calls (compiling, loading a library) cannot be left; a signal is obeyed after them.
"""

import atexit
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from jaxmask.errors import Interrupted

NUMBERS = (signal.SIGTERM, signal.SIGINT)
REPEAT_SECONDS = 0.3  # `timeout` sends its signal twice: to the process, and to its group

_received: list[int] = []
_when: list[float] = []  # the first of them came
_others: list[bool] = []
_ends: list[bool] = []  # whether a second one ends the process: a command of ours


def obey() -> None:
    """Raises Interrupted if a signal was noted; called wherever work can stop.

    Not if this process works with others, which would wait for it: they agree when to stop.
    """
    if _received and not _others:
        raise Interrupted(_received[0])


def with_others() -> None:
    """From now on, `obey` does nothing: the processes of a run agree when to stop."""
    _others.append(True)


def request(number: int) -> None:
    """Notes a signal that has not come: work stops where it looks, in any thread."""
    _received.append(number)


def note_again() -> None:
    """Puts back the handlers of a command, which a library has replaced by its own."""
    if _ends:
        for number in NUMBERS:
            signal.signal(number, _note)


@contextmanager
def noted() -> Iterator[list[int]]:
    """In the context, SIGTERM and SIGINT are only added to the list, for `obey`.

    A second one (after `REPEAT_SECONDS`) raises Interrupted at once. Contexts within one, and
    those of a command, share its list. On leaving, the handlers are put back, and a signal that
    nothing has obeyed is sent again, to them. Handlers can only be set in the main thread; in
    another one, without a context around it, the list has only what `request` adds.
    """
    if signal.getsignal(signal.SIGTERM) is _note:
        yield _received
        return
    try:
        before = {number: signal.signal(number, _note) for number in NUMBERS}
    except ValueError:
        yield _received
        return
    obeyed = False
    try:
        yield _received
    except Interrupted:
        obeyed = True
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        left = [] if obeyed else _received[:1]
        forget()
        for again in left:
            signal.raise_signal(again)


def note_in_commands() -> None:
    """Notes signals from now on, if this process is one of the commands; a second one ends it.

    Called before JAX is imported, which takes seconds. In any other process it does nothing.
    """
    if is_command(sys.argv, sys.orig_argv):
        _ends.append(True)
        atexit.register(_ignore)
        for number in NUMBERS:
            signal.signal(number, _note)


def in_command() -> bool:
    """Whether this process is one of the commands, and notes signals."""
    return bool(_ends)


def is_command(argv: list[str], original: list[str]) -> bool:
    """Whether a process is started as `jaxmask`, `python -m jaxmask` or `python -m jaxmask.NAME`.

    Args:
      argv: `sys.argv`; while Python looks for the module of `-m`, it begins with "-m".
      original: `sys.orig_argv`.
    """
    if argv[:1] == ["-m"] and "-m" in original[:-1]:
        return original[original.index("-m") + 1].partition(".")[0] == "jaxmask"
    return bool(argv) and Path(argv[0]).name == "jaxmask"


def _ignore() -> None:
    """The last thing at exit, as the first that was registered: the exit status stands.

    After it, Python puts the system's handlers back, unless signals are ignored.
    """
    for number in NUMBERS:
        signal.signal(number, signal.SIG_IGN)


def _note(number: int, _: FrameType | None) -> None:
    now = time.monotonic()
    if not _received:
        _received.append(number)
        _when.append(now)
        if _ends and os.isatty(2):
            os.write(2, b"\njaxmask: stopping as soon as possible; once more stops at once\n")
    elif now - _when[0] >= REPEAT_SECONDS:
        if _ends:
            os._exit(128 + number)
        raise Interrupted(number)


def forget() -> None:
    """Drops the signals that were noted: they have been obeyed elsewhere."""
    _received.clear()
    _when.clear()
