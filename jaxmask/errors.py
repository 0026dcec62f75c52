"""What ends a run early: an input that is at fault, or a signal."""

import difflib
import os
import sys
from collections.abc import Callable, Iterable
from typing import NoReturn


class InputError(ValueError):
    """Something that the user gave is wrong; the message is one line: what, where, what to do.

    The command line prints the message without a traceback and exits with status 2.
    """


class Interrupted(Exception):  # noqa: N818 - not an error: the user asked for it
    """SIGTERM or Ctrl-C came. Training saves a checkpoint before it raises this."""

    def __init__(self, number: int) -> None:
        super().__init__(f"signal {number}")
        self.number = number


def nearest(name: str, known: Iterable[str]) -> str:
    """`"; did you mean 'x'?"` for the known names most like `name`, else a list of all."""
    known = sorted(known)
    # A long list helps nobody: then the nearest names are told however far they are.
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5 if len(known) < 20 else 0.0)
    if close:
        return "; did you mean " + " or ".join(repr(match) for match in close) + "?"
    return "; known are " + ", ".join(known) if known else ""


def exit_status(work: Callable[[], None], place: str) -> int:
    """Does the work of a command; what was at fault is told in one line on stderr.

    0: done. 1: storage failed, at `place` where the system does not say. 2: the input is at fault.
    130: Ctrl-C.
    """
    try:
        work()
    except InputError as error:
        return _tell(str(error), 2)
    except SystemExit:  # argparse has shown its help
        return 0
    except KeyboardInterrupt:
        return _tell("stopped by SIGINT", 130)
    except BrokenPipeError:  # whoever reads the output, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        if error.errno is None:
            raise
        at = error.filename or place
        return _tell(f"cannot read or write {at}: {os.strerror(error.errno)}; mend that", 1)
    return 0


def refuse(message: str) -> NoReturn:
    """What argparse's `error` is replaced by: one line, and no usage before it."""
    raise InputError(f"{message}; --help tells what there is")


def _tell(message: str, status: int) -> int:
    print(f"jaxmask: {message}", file=sys.stderr)
    return status
