"""How a command ends: what was at fault in one line on stderr, and an exit status."""

import os
import signal
import sys
from collections.abc import Callable
from typing import NoReturn

from jaxmask.errors import InputError, Interrupted


def exit_status(
    work: Callable[[], None], place: Callable[[], str], again: Callable[[], str] = lambda: ""
) -> int:
    """Does the work of a command; what was at fault is told in one line on stderr.

    Args:
      place: () -> what was being written, where the system does not say.
      again: () -> what to say of a run that a signal has stopped.

    Returns:
      0: done. 1: storage failed. 2: the input is at fault. 130, 143: Ctrl-C or SIGTERM.
    """
    try:
        work()
    except InputError as error:
        return tell(str(error), 2)
    except SystemExit:  # argparse has shown its help
        return 0
    except (Interrupted, KeyboardInterrupt) as stop:
        number = stop.number if isinstance(stop, Interrupted) else signal.SIGINT
        return tell(f"stopped by {signal.Signals(number).name}{again()}", 128 + number)
    except BrokenPipeError:  # whoever reads the output, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        if error.errno is None:
            raise
        at = error.filename or place()
        return tell(f"cannot read or write {at}: {os.strerror(error.errno)}; fix this and rerun", 1)
    return 0


def refuse(message: str) -> NoReturn:
    """What argparse's `error` is replaced by: one line, and no usage before it."""
    raise InputError(f"{message}; see --help")


def tell(message: str, status: int) -> int:
    """Prints a message of this program on stderr; returns the status."""
    print(f"jaxmask: {message}", file=sys.stderr)
    return status
