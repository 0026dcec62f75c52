"""The one error that means: the input is at fault, and this line says how to mend it."""

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """Something that the user gave is wrong; the message is one line: what, where, what to do.

    The command line prints the message without a traceback and exits with status 2.
    """


def nearest(name: str, known: Iterable[str]) -> str:
    """`"; did you mean 'x'?"` for the known names most like `name`, else a list of all."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    if close:
        return "; did you mean " + " or ".join(repr(match) for match in close) + "?"
    return "; known are " + ", ".join(known) if known else ""
