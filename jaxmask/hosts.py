"""The processes that do one run together, each on a host of its own; mostly there is one.

All of them execute the same program in the same order. What one host alone can know, a signal or a
clock, is agreed on before anything depends on it. The first process, the leader, writes the run
directory; the others work on a private copy of it, which ends with them.
"""

import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxmask import signals
from jaxmask.errors import InputError

HEARTBEAT = 30  # seconds without a sign of life, after which a host is lost
START = 300  # seconds for all hosts to start
FORM = re.compile(r"(?P<address>\S+:\d+),(?P<count>\d+),(?P<index>\d+)")
_begun: list[int] = []  # the number of processes


def begin(how: str) -> None:
    """Connects this process with the others; called before any device is used.

    Args:
      how: "auto", if JAX can tell by itself (Slurm, Open MPI, TPU pods), or the address of the
        leader, the number of processes and the index of this one: "HOST:PORT,COUNT,INDEX".

    Raises:
      InputError: `how` is malformed, or the others cannot be found.
    """
    found = FORM.fullmatch(how)
    if how != "auto" and (not found or int(found["index"]) >= int(found["count"])):
        raise InputError(
            f"--distributed={how} is neither auto nor HOST:PORT,COUNT,INDEX, such as "
            "node0:1234,4,0 on the first of four"
        )
    given: dict[str, Any] = {}
    if found:
        count, index = int(found["count"]), int(found["index"])
        given = {"coordinator_address": found["address"], "num_processes": count,
                 "process_id": index}  # fmt: skip
    # it would take SIGTERM for itself; the training loop agrees on signals
    jax.config.update("jax_enable_preemption_service", False)
    try:
        jax.distributed.initialize(
            **given, initialization_timeout=START, heartbeat_timeout_seconds=HEARTBEAT
        )
    except (RuntimeError, ValueError) as error:
        why = str(error).strip().partition("\n")[0]
        raise InputError(f"--distributed={how}: the hosts do not find each other ({why})") from None
    _begun.append(jax.process_count())
    if jax.process_count() > 1:
        signals.with_others()
    signals.note_again()


def end() -> None:
    """Waits for the others' end, and parts from them."""
    if _begun:
        with suppress(RuntimeError):
            jax.distributed.shutdown()


def count() -> int:
    """How many processes do this run."""
    return _begun[0] if _begun else 1


def leads() -> bool:
    """Whether this process is the one that writes."""
    return count() == 1 or jax.process_index() == 0


def agreed(value: Any) -> Any:
    """The leader's value, on all hosts: a number or a tree of NumPy arrays."""
    if count() == 1:
        return value
    from jax.experimental import multihost_utils

    return multihost_utils.broadcast_one_to_all(value)


def largest(value: int) -> int:
    """The largest of the hosts' numbers."""
    if count() == 1:
        return value
    from jax.experimental import multihost_utils

    return int(multihost_utils.process_allgather(np.int32(value)).max())


def wait(reason: str) -> None:
    """Returns once all hosts have called it."""
    if count() > 1:
        from jax.experimental import multihost_utils

        multihost_utils.sync_global_devices(reason)


@contextmanager
def own_copy(folder: Path) -> Iterator[Path]:
    """Yields the run directory to work in: the folder itself, or a copy that nobody needs after.

    Raises:
      InputError: this host does not see what the leader has in the folder.
    """
    there = bool(agreed(np.int32(folder.exists())))
    if leads():
        wait("copied")
        yield folder
        return
    with tempfile.TemporaryDirectory() as place:
        copy = Path(place) / (folder.name or "run")
        if there:
            if not folder.exists():
                raise InputError(f"this host does not see {folder}; share the --workdir")
            left_out = shutil.ignore_patterns("tensorboard", "figures", ".lock", "*.part")
            try:
                shutil.copytree(folder, copy, ignore=left_out)
            except (OSError, shutil.Error) as error:
                raise InputError(f"{folder} cannot be copied to {copy}: {error}") from None
        wait("copied")
        yield copy
