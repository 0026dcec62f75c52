"""A grid carried out by the workers of a Ray cluster, one for each device or some cores.

Ray decides who does which run; which runs are stacked is fixed by the grid. Workers, nodes and the
cluster itself may be lost at any time: the runs go on from their checkpoints, in their folders,
which all nodes share.
"""

import importlib
import logging
import os
import secrets
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from jaxmask import files, signals
from jaxmask.engine.batches import Batch, batches
from jaxmask.engine.crew import Crew, Died
from jaxmask.engine.grid import Ended, Grid
from jaxmask.engine.worker import Share
from jaxmask.errors import InputError, Interrupted
from jaxmask.run import result

LOCK = Path(".locks") / "driver"  # in the grid's folder, held by the one driver
STEP = 0.5  # seconds between two looks for signals and new nodes
DEATHS = 3  # of workers, after which a batch is given up
QUIET = {  # Ray's own settings
    "RAY_USAGE_STATS_ENABLED": "0",  # it would report to its makers
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DEDUP_LOGS": "0",
}


def work(
    grid: Grid, address: str = "", cpus: int | None = None, gpus: float | None = None
) -> Iterator[Ended]:
    """Carries out the planned runs on a cluster; yields how each ended.

    Args:
      address: of a cluster, as `ray.init` takes it; "" is the one that RAY_ADDRESS names or that
        was started on this machine, or else a new one of this machine alone.
      cpus, gpus: what a worker uses of its node; None is one core, and a GPU if there is any.

    Raises:
      InputError: Ray is not installed, no cluster answers, all its nodes are refused, or another
        process is carrying out the grid.
      Interrupted: by SIGTERM or Ctrl-C; the workers have saved checkpoints.
    """
    with _only_driver(grid.folder) as seen, connected(address) as ray:
        if gpus is None:
            gpus = min(ray.cluster_resources().get("GPU", 0.0), 1.0)
        grid = grid._replace(folder=grid.folder.absolute())
        size = grid.stacked(gpus > 0)
        pending = batches(list(grid.runs), grid.planned, size)
        crew = Crew(ray, Share(cpus or 1, gpus), str(seen.absolute()), os.getcwd())
        yield from _carried_out(grid, pending, crew)


def _carried_out(grid: Grid, pending: list[Batch], crew: Crew) -> Iterator[Ended]:
    deaths: Counter[Batch] = Counter()
    count = len(pending)
    show = _gauge(crew.ray)
    try:
        while pending or crew.busy() or crew.dropped:
            signals.obey()
            crew.hire(len(pending))
            crew.assign(pending, grid)
            for batch, answer in crew.answers(STEP):
                if not isinstance(answer, Died):
                    yield from answer
                    continue
                deaths[batch] += 1
                if deaths[batch] < DEATHS:
                    pending.insert(0, batch)  # from its checkpoints
                    continue
                why = f"its worker died {DEATHS} times, the last time: {answer.why}"
                left = (name for name in batch.names if not _finished(grid.folder / name))
                yield from (Ended(name, failed=why) for name in left)
            busy = len(crew.busy())
            show({"waiting": len(pending), "running": busy, "ended": count - len(pending) - busy})
    except Interrupted as stop:
        crew.stop(stop.number)
        raise
    finally:
        crew.dismiss()


def _finished(folder: Path) -> bool:
    return (folder / result.NAME).exists()


def refuse_driven(folder: Path) -> None:
    """Raises InputError if a driver is carrying out the grid in the folder on a cluster."""
    if who := files.holder(folder / LOCK):
        raise InputError(f"{who} carries out the grid in {folder} with Ray; wait for its end")


@contextmanager
def _only_driver(folder: Path) -> Iterator[Path]:
    """Holds the grid; yields a file there, for workers to see whether they share the folder."""
    lock, seen = folder / LOCK, folder / ".locks" / f"seen-{secrets.token_hex(4)}"
    with files.locked(lock) as mine:
        if not mine:
            refuse_driven(folder)
            raise InputError(f"another process carries out the grid in {folder} with Ray")
        others = (path for path in sorted(lock.parent.glob("[!.]*")) if path != lock)
        if who := next(filter(None, map(files.holder, others)), ""):
            raise InputError(
                f"{who} carries out runs of the grid in {folder} without Ray; wait for its end, or "
                "stop it: the same runs go on here"
            )
        for old in lock.parent.glob("seen-*"):  # of drivers that were killed
            old.unlink(missing_ok=True)
        try:
            seen.touch()
            yield seen
        finally:
            seen.unlink(missing_ok=True)


@contextmanager
def connected(address: str) -> Iterator[Any]:
    """Ray, connected to a cluster, or to a new one that ends with the context.

    Raises:
      InputError: Ray is not installed, or no cluster answers.
    """
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    try:
        ray: Any = importlib.import_module("ray")
    except ImportError:
        raise InputError("--engine=ray needs Ray: pip install 'jaxmask[ray]'") from None
    given = address or os.environ.get("RAY_ADDRESS", "")
    options = {"logging_level": logging.ERROR, "log_to_driver": False, "namespace": "jaxmask"}
    try:
        with warnings.catch_warnings():  # of forking, and of what ends in an error anyway
            warnings.simplefilter("ignore")
            if given:
                ray.init(given, **options)
            else:
                _init_here(ray, options)
    except (ConnectionError, RuntimeError, ValueError) as error:
        why, place = str(error).strip().partition("\n")[0], given or "this machine"
        raise InputError(
            f"no Ray cluster answers at {place} ({why}); start one with ray start --head"
        ) from None
    signals.note_again()  # Ray has handlers of its own
    try:
        yield ray
    finally:
        ray.shutdown()


def _init_here(ray: Any, options: dict[str, Any]) -> None:
    try:
        ray.init("auto", **options)
    except ConnectionError:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
        ray.init("local", num_cpus=cores, **options)


def _gauge(ray: Any) -> Any:
    """A function that shows numbers of batches, by their state, in Ray's dashboard."""
    metrics: Any = None
    with suppress(Exception):  # not every installation of Ray has metrics
        from ray.util import metrics
    if metrics is None or ray is None:
        return lambda counts: None
    gauge = metrics.Gauge("jaxmask_batches", "batches of runs of a grid", tag_keys=("state",))

    def show(counts: dict[str, int]) -> None:
        for state, count in counts.items():
            gauge.set(count, {"state": state})

    return show
