"""The program cache: objects that the runs of one process share, by what they depend on."""

from collections.abc import Callable, Hashable
from typing import TypeVar

T = TypeVar("T")

AT_MOST = 32
_MADE: dict[str, dict[Hashable, object]] = {}


def shared(kind: str, identity: Hashable, build: Callable[[], T]) -> T:
    """What `build` returns, cached by `kind` and `identity`.

    JAX compiles a function once as long as it is the same object, so runs that differ only in
    numbers share programs. Of each kind, the `AT_MOST` most recently used are kept.
    """
    made = _MADE.setdefault(kind, {})
    found = made.pop(identity) if identity in made else build()
    made[identity] = found  # last, as the most recently used
    if len(made) > AT_MOST:
        made.pop(next(iter(made)))
    return found  # type: ignore[return-value]


def forget() -> None:
    """Empties the cache, so that its programs can be freed."""
    _MADE.clear()
