"""A worker of a cluster: a process that lives as long as the grid and keeps its programs."""

import hashlib
import os
import platform
import socket
from collections.abc import Sequence
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import jax

from jaxmask import files, signals
from jaxmask.engine.grid import Ended, Grid, carry_out
from jaxmask.errors import Interrupted
from jaxmask.run import compilation
from jaxmask.run.result import LIBRARIES
from jaxmask.version import __version__

MEMORY = 0.9  # of an accelerator's, for all its workers; contexts and libraries need the rest


class Share(NamedTuple):
    """What of its machine a worker uses.

    Attributes:
      cpus: cores, for the threads of JAX.
      gpus: accelerators, or a fraction of one; 0 computes on the cores.
    """

    cpus: int = 1
    gpus: float = 0.0

    def environment(self) -> dict[str, str]:
        """The variables by which XLA is told: its threads, and its share of the GPU's memory."""
        found = {"NPROC": str(self.cpus), "PJRT_NPROC": str(self.cpus)}
        if self.gpus:
            share = min(self.gpus, 1.0)
            found["XLA_PYTHON_CLIENT_MEM_FRACTION"] = f"{MEMORY * share:.3f}"
        return found


class Worker:
    """Carries out runs that a driver sends; its methods may be called from several threads."""

    def __init__(self, share: Share, working_directory: str) -> None:
        os.environ.update(share.environment())  # before JAX's first device
        # not what the driver's own environment says: it keeps off the accelerators
        jax.config.update("jax_platforms", None if share.gpus else "cpu")
        with suppress(OSError):  # relative paths in a config are the driver's
            os.chdir(working_directory)
        files.trust_assignment()
        self._versions = versions()

    def describe(self, seen: str) -> dict[str, str]:
        """Where this worker runs, its versions, and whether the file `seen` is there, "" if not."""
        return {"host": socket.gethostname(), "process": str(os.getpid()), **self._versions,
                "sees": str(Path(seen).exists() or "")}  # fmt: skip

    def work(self, grid: Grid, names: Sequence[str]) -> list[Ended]:
        """Carries out runs of a grid; none has ended if it was stopped."""
        compilation.use_cache(grid.cache)
        try:
            signals.obey()
            return list(carry_out(grid, names))
        except Interrupted:
            return []

    def stop(self, number: int) -> None:
        """Makes `work` save checkpoints and return, as a signal would."""
        signals.request(number)


def versions() -> dict[str, str]:
    """What must be equal on all workers, by name: a program's results depend on it."""
    found = {name: metadata.version(name) for name in LIBRARIES}
    found["jaxmask"] = f"{__version__} ({_digest()})"
    return {**found, "python": platform.python_version()}


def _digest() -> str:
    """Of the package's own source: a checkout may have changed since its version was given."""
    folder = Path(__file__).parent.parent
    found = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        found.update(str(path.relative_to(folder)).encode() + b"\0" + path.read_bytes())
    return found.hexdigest()[:8]
