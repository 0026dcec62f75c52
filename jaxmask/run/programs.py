"""The program cache: objects that the runs of one process share, by what they depend on."""

import gc
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import TypeVar

import jax

T = TypeVar("T")

AT_MOST = 32
LIMIT, MAPS = Path("/proc/sys/vm/max_map_count"), Path("/proc/self/maps")
NEAR = 0.4  # of the limit; the next programs need some, too
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


def relieve() -> None:
    """Forgets all programs if this process is near the system's limit of memory maps.

    A program that is compiled for a CPU takes thousands of them; beyond the limit, compiling ends
    the process. Linux alone has such a limit.
    """
    try:
        limit = int(LIMIT.read_text())
        with MAPS.open() as lines:
            taken = sum(1 for _ in lines)
    except OSError:
        return
    if taken > NEAR * limit:
        forget()
        jax.clear_caches()
        gc.collect()


def forget() -> None:
    """Empties the cache, so that its programs can be freed."""
    _MADE.clear()
