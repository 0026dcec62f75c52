"""What the runs of one process share: compiled programs, by what they depend on."""

from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

AT_MOST = 16
_MADE: dict[str, object] = {}


def shared(identity: str, build: Callable[[], T]) -> T:
    """What `build` makes, or what it made before for the same `identity`.

    JAX compiles a function once as long as it is the same object: runs that differ in numbers
    alone share theirs. The oldest of more than `AT_MOST` is forgotten.
    """
    if identity not in _MADE:
        if len(_MADE) >= AT_MOST:
            _MADE.pop(next(iter(_MADE)))
        _MADE[identity] = build()
    return _MADE[identity]  # type: ignore[return-value]
