"""What ends a run early: invalid input or a signal."""

import difflib
import os
import sys
from collections.abc import Callable, Iterable
from typing import NoReturn


class InputError(ValueError):
    """Invalid user input; the message is one line: what is wrong, where, how to fix it.

    The command line prints the message without a traceback and exits with status 2.
    """


class Interrupted(Exception):  # noqa: N818 - not an error: the user asked for it
    """SIGTERM or Ctrl-C. Training saves a checkpoint before raising this."""

    def __init__(self, number: int) -> None:
        super().__init__(f"signal {number}")
        self.number = number


def nearest(name: str, known: Iterable[str]) -> str:
    """`"; did you mean 'x'?"` for the known names closest to `name`, else a list of all."""
    known = sorted(known)
    # A long list is no help: give the closest names instead, however far.
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5 if len(known) < 20 else 0.0)
    if close:
        return "; did you mean " + " or ".join(repr(match) for match in close) + "?"
    return "; known: " + ", ".join(known) if known else ""


def exit_status(work: Callable[[], None], place: str) -> int:
    """Runs a command; reports an error as one line on stderr.

    0: success. 1: reading or writing failed, at `place` if the system names no file. 2: invalid
    input. 130: Ctrl-C.
    """
    try:
        work()
    except InputError as error:
        return _tell(str(error), 2)
    except SystemExit:  # argparse has shown its help
        return 0
    except KeyboardInterrupt:
        return _tell("stopped by SIGINT", 130)
    except BrokenPipeError:  # the reader of the output, such as head, closed it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        if error.errno is None:
            raise
        at = error.filename or place
        return _tell(
            f"cannot read or write {at}: {os.strerror(error.errno)}; fix this and rerun", 1
        )
    return 0


def refuse(message: str) -> NoReturn:
    """Replaces argparse's `error`: one line, without the usage before it."""
    raise InputError(f"{message}; see --help")


def _tell(message: str, status: int) -> int:
    print(f"jaxmask: {message}", file=sys.stderr)
    return status
