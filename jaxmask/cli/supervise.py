"""A command in a process of its own, for libraries that may end theirs without a word."""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable

from jaxmask import signals
from jaxmask.cli.ending import tell

VARIABLE = "JAXMASK_SUPERVISED"  # where the child says that it has ended by itself
STEP = 0.2  # seconds between two looks for signals


def supervised(work: Callable[[], int], lost: str, **variables: str) -> int:
    """The exit status of `work()`, which the same command does again, in a child process.

    Outside a command of ours (in a notebook, say) it is simply called.

    Args:
      lost: the message if the child ends before `work` does; the status is 1 then.
      variables: of the child's environment.
    """
    if VARIABLE in os.environ:
        end = int(os.environ.pop(VARIABLE))
        _end_with_parent()
        status = work()
        sys.stdout.flush()
        sys.stderr.flush()
        os.write(end, bytes([status]))
        if status:  # at its exit, a library may wait for others, in vain
            os._exit(status)
        return status
    if not signals.in_command():
        return work()
    reading, writing = os.pipe()
    child = subprocess.Popen(
        [sys.executable, *sys.orig_argv[1:]], pass_fds=[writing],
        env={**os.environ, **variables, VARIABLE: str(writing)},
        start_new_session=True,  # a terminal's Ctrl-C reaches it once, through this process
    )  # fmt: skip
    os.close(writing)
    status, number = _wait(child)
    os.set_blocking(reading, False)  # what the child has started may hold its end
    try:
        said = os.read(reading, 1)
    except BlockingIOError:
        said = b""
    os.close(reading)
    if said:
        return said[0]
    if number:  # it came before the child could note it
        return tell(f"stopped by {signal.Signals(number).name}", 128 + number)
    how = f"signal {-status}" if status < 0 else f"status {status}"
    return tell(f"{lost} (its process ended with {how})", 1)


def _wait(child: "subprocess.Popen[bytes]") -> tuple[int, int]:
    """The child's status, and the signal that was passed on to it, once, or 0."""
    with signals.noted() as received:
        passed = 0
        while True:
            try:
                status = child.wait(STEP)
                signals.forget()
                return status, passed
            except subprocess.TimeoutExpired:
                if received and not passed:
                    passed = received[0]
                    child.send_signal(passed)


def _end_with_parent() -> None:
    """Has the system send SIGTERM to this process when its parent ends, however it ends."""
    with contextlib.suppress(OSError, AttributeError):  # not Linux
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
