"""What ends a run early: invalid input or a signal."""

import difflib
import math
from collections.abc import Iterable
from typing import Any


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


def check_numbers(name: str, values: Iterable[Any], least: float = float("-inf")) -> None:
    """Raises InputError, naming the field, unless all values are numbers of at least `least`."""
    for value in values:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not math.isfinite(value) or value < least:
            limit = f" of at least {least:g}" if math.isfinite(least) else ""
            raise InputError(f"{name} has {value!r}; give a finite number{limit}")
