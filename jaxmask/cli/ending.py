"""How a command ends: one line on stderr if it failed, and an exit status."""

import os
import signal
import sys
from collections.abc import Callable

from jaxmask import signals
from jaxmask.errors import HostLost, InputError, Interrupted

LONGEST = 1000  # characters of a message


class HelpShown(Exception):  # noqa: N818 - not an error: the user asked for it
    """The command was only to show its help, and has."""


def exit_status(
    work: Callable[[], None], place: Callable[[], str], again: Callable[[], str] = lambda: ""
) -> int:
    """Does the work of a command; prints errors on stderr, in one line or two.

    Args:
      place: () -> what was being written, if the system does not say.
      again: () -> what to add to the message about a run stopped by a signal.

    Returns:
      0: done. 1: storage failed, or a host was lost. 2: invalid input. 130, 143: Ctrl-C or SIGTERM.
    """
    try:
        with signals.noted() as received:
            signals.obey()  # one that came during the imports
            try:
                work()
            except RuntimeError as error:
                # a terminal's Ctrl-C also ends the compilers that JAX starts for a GPU
                if received and type(error).__name__ == "JaxRuntimeError":
                    raise Interrupted(received[0]) from error
                raise
    except InputError as error:
        return tell(str(error), 2, error.otherwise)
    except HostLost as error:
        return tell(str(error), 1)
    except HelpShown:
        return 0
    except SystemExit as end:  # a network, a method or a dataset of the user's own
        return tell(f"code that was loaded ended the command by {called(end)}; remove that", 2)
    except (Interrupted, KeyboardInterrupt) as stop:
        number = stop.number if isinstance(stop, Interrupted) else signal.SIGINT
        return tell(f"stopped by {signal.Signals(number).name}{again()}", 128 + number)
    except BrokenPipeError:  # the reader of the output, such as head, has closed it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        if error.errno is None:
            raise
        at = error.filename or place()
        return tell(f"cannot read or write {at}: {os.strerror(error.errno)}; fix this and rerun", 1)
    return 0


def called(end: SystemExit) -> str:
    """The call that raised it, as in the code."""
    return f"sys.exit({'' if end.code is None else repr(end.code)})"


def tell(message: str, status: int, otherwise: str = "") -> int:
    """Prints a message of this program on stderr, in one line, and `otherwise` in a second one.

    Returns the status.
    """
    print(_one_line(f"jaxmask: {message}"), file=sys.stderr)
    if otherwise:
        print(_one_line(otherwise), file=sys.stderr)
    return status


def _one_line(text: str) -> str:
    text = " ".join(text.splitlines())
    if len(text) > LONGEST:  # it quotes a value of any length
        text = f"{text[: LONGEST // 2]} ... {text[-LONGEST // 2 :]}"
    return text
