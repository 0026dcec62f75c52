"""The program cache: what the runs of one process share, by what it depends on."""

from collections.abc import Callable, Hashable
from typing import TypeVar

T = TypeVar("T")

AT_MOST = 32
_MADE: dict[str, dict[Hashable, object]] = {}


def shared(kind: str, identity: Hashable, build: Callable[[], T]) -> T:
    """What `build` makes, or what it made before for the same `kind` and `identity`.

    JAX compiles a function once as long as it is the same object: runs that differ in numbers
    alone share theirs. Of more than `AT_MOST` of a kind, the one not used for longest is forgotten.
    """
    made = _MADE.setdefault(kind, {})
    found = made.pop(identity) if identity in made else build()
    made[identity] = found  # at the end, as the last used
    if len(made) > AT_MOST:
        made.pop(next(iter(made)))
    return found  # type: ignore[return-value]


def forget() -> None:
    """Empties the cache: its programs and what they hold can be freed."""
    _MADE.clear()
