"""Atomic file writes, JSON in and out, locks between processes.

Locks are `flock`s: the system releases them when their process ends, however it ends. Between
machines they cannot be relied on: over a network file system, a lock file that another machine has
written is refused, unless something else decides who works where (`trust_assignment`).
"""

import errno
import fcntl
import glob
import json
import os
import re
import secrets
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from jaxmask.errors import InputError

# a file being written, or left behind by a kill: .NAME.PROCESS.RANDOM.part
_PARTS = ".{}.*.????????.part"
LEASE = 120.0  # seconds
TRIES = 3  # to lock a file, which somebody may hold for a moment to see whether it is held
NETWORKED = {  # types of file systems that several machines may share
    "9p", "afs", "beegfs", "ceph", "cifs", "fuse.ceph", "fuse.gcsfuse", "fuse.glusterfs",
    "fuse.juicefs", "fuse.rclone", "fuse.s3fs", "fuse.sshfs", "glusterfs", "gpfs", "lustre", "nfs",
    "nfs4", "orangefs", "panfs", "smb3", "smbfs", "wekafs",
}  # fmt: skip
_OCTAL = re.compile(rb"\\([0-7]{3})")
MOUNTS = Path("/proc/self/mounts")
_assigned: list[bool] = []  # whether a cluster decides who works where
_NO_LOCKS = {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS}  # of a file system without them


def replace(path: str | os.PathLike[str], content: bytes | memoryview | str) -> None:
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
    the old file or the new one, even after a power failure. What killed processes have left of
    earlier attempts at the same file is removed.
    """
    path = Path(path)
    _sweep(path.parent, _PARTS.format(glob.escape(path.name)))
    # unique even among processes of several machines that share the folder
    part = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.part")
    handle = _held(part)  # so that nobody sweeps it up
    try:
        yield part
        _flush(part)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
        if handle is not None:
            os.close(handle)
    with suppress(OSError):  # not every system can flush a folder
        _flush(path.parent)


def sweep(folder: Path) -> None:
    """Removes what killed processes have left of files that they were writing, at any depth.

    What a process is writing, which it holds, stays; so does all on a file system without locks.
    """
    _sweep(folder, "**/" + _PARTS.format("*"))


def _sweep(folder: Path, pattern: str) -> None:
    for part in folder.glob(pattern):
        try:
            handle = os.open(part, os.O_RDONLY)
        except OSError:
            continue  # it has just been finished, or is not ours
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            part.unlink(missing_ok=True)
        except OSError:
            pass
        finally:
            os.close(handle)


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
    """Yields whether this process holds the lock file, which says so to `holder`.

    It is removed at the end; what a killed process has left is not held, and is taken over.

    Raises:
      InputError: another machine has written the file, over a network file system.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if not _assigned and (kind := file_system(path)) in NETWORKED:
        _refuse_other_machines(path, kind)
    handle = _held(path)
    end = time.monotonic() + LEASE
    while handle is None and _assigned and time.monotonic() < end:
        time.sleep(1.0)  # what a dead machine held, a file system releases after a while
        handle = _held(path)
    if handle is None:
        yield False
        return
    try:
        os.ftruncate(handle, 0)
        os.write(handle, _signature())
        yield True
    finally:
        path.unlink(missing_ok=True)  # while it is held: nobody can have taken it over
        os.close(handle)


def trust_assignment() -> None:
    """From now on, this process takes over lock files of other machines.

    For workers of a cluster, whose driver gives no two of them the same folder.
    """
    _assigned.append(True)


def file_system(path: Path) -> str:
    """The type of the file system that a path is on, such as "ext4" or "nfs4"; "" if unknown."""
    try:
        lines = [line.split() for line in MOUNTS.read_bytes().splitlines()]
    except OSError:
        return ""  # not Linux
    whole, found = Path(os.path.realpath(path)), ("", "")
    for _, place, kind, *_ in lines:
        # a space is \040
        point = os.fsdecode(_OCTAL.sub(lambda match: bytes([int(match[1], 8)]), place))
        if whole.is_relative_to(point) and len(point) >= len(found[0]):
            found = (point, kind.decode())
    return found[1]


def _refuse_other_machines(path: Path, kind: str) -> None:
    """Creates the lock file, as only one machine can, or sees that this one has."""
    who = ""
    for _ in range(TRIES):  # it may have been created, or removed, a moment ago
        with suppress(FileExistsError):
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
            os.write(handle, _signature())
            os.close(handle)
            return
        with suppress(FileNotFoundError):
            if who := path.read_text(errors="replace"):
                break
        time.sleep(0.01)
    if f" on {socket.gethostname()} since " not in who:
        raise InputError(
            f"{path} is the lock of {who or 'another process'}, and over {kind} nobody can tell "
            "whether that is still running; if it is not, delete the file (machines share a grid "
            "with --engine=ray)"
        )


def _signature() -> bytes:
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    return f"process {os.getpid()} on {socket.gethostname()} since {since}".encode()


def holder(path: Path) -> str:
    """Who holds a lock file: "process 12 on HOST since TIME"; "" if nobody does."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:
        return ""
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return os.read(handle, 1000).decode(errors="replace") or "another process"
    except OSError:
        pass  # no locks here
    else:
        return "" if _assigned else _elsewhere(path, handle)
    finally:
        os.close(handle)
    return ""


def _elsewhere(path: Path, handle: int) -> str:
    """Another machine that has written a lock file, which nobody here holds; "" if none has."""
    who = os.read(handle, 1000).decode(errors="replace")
    if not who or f" on {socket.gethostname()} since " in who:
        return ""
    return who if file_system(path) in NETWORKED else ""


def _held(path: Path) -> int | None:
    """An open and locked file, created if need be; None if another process holds it.

    On a file system without locks the file is not locked.
    """
    tries = 0
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in _NO_LOCKS:
                return handle
            os.close(handle)
            if not isinstance(error, BlockingIOError):
                raise
            tries += 1
            if tries == TRIES:
                return None
            time.sleep(0.01)
            continue
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(handle), os.stat(path)):
                return handle
        os.close(handle)  # it was removed, by its last holder or a sweep, before it was locked
