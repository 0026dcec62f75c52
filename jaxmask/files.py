"""Atomic file writes, JSON in and out, locks between processes."""

import fcntl
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from jaxmask.errors import InputError


def replace(path: str | os.PathLike[str], content: bytes | str) -> None:
    """Writes a file atomically, replacing an existing one.

    Raises:
      OSError: it cannot be written; nothing is left behind.
    """
    with replacing(path) as part:
        part.write_bytes(content.encode() if isinstance(content, str) else content)


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yields a temporary path beside `path`; it replaces `path` if the block succeeds.

    The content is flushed to disk before renaming, and the renaming is flushed too: a reader sees
    the old file or the new one, even after a power failure.
    """
    path = Path(path)
    # unique even among processes of several machines that share the folder
    part = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.part")
    try:
        yield part
        _flush(part)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    with suppress(OSError):  # not every system can flush a folder
        _flush(path.parent)


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def read_json(path: Path, remedy: str) -> dict[str, Any]:
    """Reads the JSON object in a file.

    Args:
      remedy: for the message, what to do if the file holds none.

    Raises:
      InputError: the file is not there, cannot be read or holds no JSON object.
    """
    try:
        found = json.loads(path.read_text())
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); {remedy}") from None
    except (ValueError, RecursionError):  # bad encoding, or bad JSON
        found = None
    if not isinstance(found, dict):
        raise InputError(f"{path} is not a valid JSON object; {remedy}")
    return found


def write_json(path: Path, value: Any) -> None:
    """Writes JSON for people to read; NaN and infinity, which JSON lacks, become null."""
    replace(path, json.dumps(plain(value), indent=2) + "\n")


def plain(value: Any) -> Any:
    """The value after a JSON round trip: tuples are lists, NaN and infinity are None."""
    return json.loads(json.dumps(value), parse_constant=lambda _: None)


@contextmanager
def locked(path: Path) -> Iterator[bool]:
    """Yields whether this process holds the lock file; it is released when the process ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True
