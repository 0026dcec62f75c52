"""What ends a run early: invalid input or a signal."""

import difflib
import math
import reprlib
import unicodedata
from collections.abc import Iterable
from typing import Any

LONGEST_TEXT = 4096  # characters


class InputError(ValueError):
    """Invalid user input; the message is one line: what is wrong, where, how to fix it.

    `otherwise` is a second line, on another way to fix it, or "". The command line prints both
    without a traceback and exits with status 2.
    """

    def __init__(self, message: str = "", otherwise: str = "") -> None:
        super().__init__(message)
        self.otherwise = otherwise

    def at(self, place: str) -> "InputError":
        """The same error, with the place of the input before its message."""
        return InputError(f"{place}: {self}", self.otherwise)


class Interrupted(Exception):  # noqa: N818 - not an error: the user asked for it
    """SIGTERM or Ctrl-C. Training saves a checkpoint before raising this."""

    def __init__(self, number: int) -> None:
        super().__init__(f"signal {number}")
        self.number = number


class HostLost(Exception):  # noqa: N818 - not this process's error
    """Another process of the same run is gone, and this one cannot go on without it."""


def nearest(name: str, known: Iterable[str]) -> str:
    """`"; did you mean 'x'?"` for the known names closest to `name`, else a list of all."""
    known = sorted(known)
    # A long list is no help: give the closest names instead, however far.
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5 if len(known) < 20 else 0.0)
    if close:
        return "; did you mean " + " or ".join(repr(match) for match in close) + "?"
    return "; known: " + ", ".join(known) if known else ""


def check_numbers(
    name: str, values: Iterable[Any], least: float = -math.inf, most: float = math.inf
) -> None:
    """Raises InputError, naming the field, unless all values are numbers in [least, most]."""
    for value in values:
        if not is_number(value, least, most):
            limits = [f" of at least {least:g}"] * math.isfinite(least)
            limits += [f"{' and' * len(limits)} at most {most:g}"] * math.isfinite(most)
            raise InputError(
                f"{name} has {reprlib.repr(value)}; give a finite number{''.join(limits)}"
            )


def is_number(value: Any, least: float = -math.inf, most: float = math.inf) -> bool:
    """Whether a value is a finite number in [least, most]; a truth value is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    # a whole number may be too large for a float
    return (isinstance(value, int) or math.isfinite(value)) and least <= value <= most


def is_text(value: Any, most: int = LONGEST_TEXT) -> bool:
    """Whether a value is a text of at most `most` characters that any program can print.

    Control characters, line ends and halves of a surrogate pair (which UTF-8 cannot encode) are
    not in such a text.
    """
    if not isinstance(value, str) or len(value) > most:
        return False
    return not any(unicodedata.category(each) in ("Cc", "Cs", "Zl", "Zp") for each in value)


def is_name(value: Any) -> bool:
    """Whether a value is a text that is not blank; see `is_text`."""
    return is_text(value) and bool(value.strip())
