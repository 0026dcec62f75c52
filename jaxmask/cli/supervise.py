"""A command in a process of its own, for libraries that may end theirs without a word."""

import os
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
        status = work()
        sys.stdout.flush()
        sys.stderr.flush()
        os.write(end, b".")
        if status:  # at its exit, a library may wait for others, in vain
            os._exit(status)
        return status
    if not signals.in_command():
        return work()
    reading, writing = os.pipe()
    child = subprocess.Popen(
        [sys.executable, *sys.orig_argv[1:]], pass_fds=[writing],
        env={**os.environ, **variables, VARIABLE: str(writing)},
    )  # fmt: skip
    os.close(writing)
    status = _wait(child)
    os.set_blocking(reading, False)  # what the child has started may hold its end
    try:
        said = os.read(reading, 1)
    except BlockingIOError:
        said = b""
    os.close(reading)
    if not said:
        how = f"signal {-status}" if status < 0 else f"status {status}"
        return tell(f"{lost} (its process ended with {how})", 1)
    return status


def _wait(child: "subprocess.Popen[bytes]") -> int:
    """The child's status; a signal is passed on, once."""
    with signals.noted() as received:
        passed = False
        while True:
            try:
                status = child.wait(STEP)
                signals.forget()
                return status
            except subprocess.TimeoutExpired:
                if received and not passed:
                    child.send_signal(received[0])
                    passed = True
