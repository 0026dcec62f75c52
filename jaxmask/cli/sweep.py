"""The command line for a grid of runs: one config in, one run directory per grid point out.

    jaxmask sweep --config=configs/mnist_lenet.py --workdir=runs/mnist_lenet

It takes the arguments of `jaxmask run`. `config.grid` holds grids, each a tuple of axes, each a
pair (field, values); fields that change together are joined by commas:

    config.grid = (
        (("criterion", ("snip", "synflow")), ("density", (0.1, 0.01)), ("seed", (0, 1, 2))),
        (("recipe,shots", (("prune", 1), ("lottery", 1))), ("density", (0.1,))),
    )

Finished runs are skipped and unfinished ones resumed, so the same command continues after any
interruption. Several processes of one machine may work on a grid: each run is done by one of them.
Several machines do it with `--engine=ray`, as workers of a Ray cluster. Runs of one shape share a
compiled program; set `config.data.mean` and `std` to share it across seeds too, because by default
each seed has the moments of its own training images.
"""

import itertools
import math
import re
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_collections import ConfigDict

from jaxmask import files, signals
from jaxmask.cli import absl_flags, engines
from jaxmask.cli import config as configs
from jaxmask.cli import run as command
from jaxmask.cli.supervise import supervised
from jaxmask.errors import InputError

if TYPE_CHECKING:
    from jaxmask.engine.grid import Ended
    from jaxmask.run.plan import Planned

OWN_FIELDS = ("grid", "together")
MOST_RUNS = 10_000

SWEEP = command.Command(
    "jaxmask sweep",
    "Runs every point of a config's grid, each in a run directory of its own.",
    engines.FLAGS,
)
LONGEST_NAME = 200  # characters of a run directory's name; file systems take 255 bytes


def expand(config: ConfigDict) -> dict[str, ConfigDict]:
    """The config of every point of the grids, by the name of its run directory.

    Raises:
      InputError: there is no grid, or an axis is malformed, names an unknown field, or has a
        value of the wrong type.
    """
    grids = config.get("grid", ())
    if not grids:
        raise InputError("the config has no grid; run it with jaxmask run")
    fields = {name for name, _ in configs.fields(config) if name.split(".")[0] not in OWN_FIELDS}
    runs: dict[str, ConfigDict] = {}
    count = 0
    for grid in grids:
        if not isinstance(grid, tuple | list) or not grid:
            raise InputError(f"grid: {grid!r} is not a grid; give a tuple of axes")
        axes = [_axis(axis, fields) for axis in grid]
        named = [field for axis in axes for field, _ in axis[0]]
        for field in named:
            if named.count(field) > 1:
                raise InputError(f"grid: two axes set {field!r}; remove one")
        count += math.prod(map(len, axes))
        if count > MOST_RUNS:
            raise InputError(f"grid: it has more than {MOST_RUNS} runs; give fewer")
        for point in itertools.product(*axes):
            run = ConfigDict(config.copy_and_resolve_references())
            for field in OWN_FIELDS:
                if field in run:
                    with run.unlocked():
                        del run[field]
            for field, value in itertools.chain.from_iterable(point):
                _set(run, field, value)
            known = dict(configs.fields(run))
            runs[_name({field: known[field] for field in named})] = run.lock()
    return runs


def sweep(
    config: ConfigDict, folder: Path, engine: engines.Engine | None = None, **options: Any
) -> None:
    """Runs all unfinished points of the config's grid, in folders below `folder`.

    All runs are checked before anything is trained. A run that fails (say, its loss is never
    finite) does not stop the others. At the end, `folder/report` has tables and plots of the
    finished runs.

    Args:
      engine: the cluster whose workers carry the runs out; None is this process.
      options: of the recipe, as for `run.main`.

    Raises:
      InputError: the grid or one of its configs is invalid, or the folder is a run's; or, at
        the end, runs failed.
    """
    from jaxmask import report
    from jaxmask.run import directory, plan

    runs = expand(config)
    if directory.is_run(folder):
        raise InputError(
            f"{folder} is the directory of a run, whose parts the runs of a grid would seem to be; "
            "give another --workdir"
        )
    if config.get("together", 0) < 0:
        raise InputError(f"together is {config.together}; it must be at least 0")
    planned = _planned(runs, folder, options)
    done = len(runs) - len(planned)
    print(f"{len(runs)} runs, {done} of them finished before", flush=True)
    failed: dict[str, str] = {}
    if planned:
        trainings = [each for name in planned for each in plan.below(name, planned[name])]
        print(plan.told(trainings, folder, timed=engine is None), flush=True)
        files.sweep(folder)
        with _bar(len(runs), done, shown=engine is not None) as advance:
            for ended in _ended(config, runs, planned, folder, engine, options):
                done += 1
                if ended.failed:
                    failed[ended.name] = ended.failed
                print(f"[{done}/{len(runs)}] {ended.name}: {_told(ended)}", flush=True)
                advance()
    if len(failed) < len(runs):
        report.write([folder / name for name in runs if name not in failed], folder / "report")
        print(f"tables and figures: {folder / 'report'}", flush=True)
    if failed:
        first = next(iter(failed))
        raise InputError(
            f"{len(failed)} of {len(runs)} runs failed, the first is {first}: {failed[first]}"
        )


def _planned(
    runs: dict[str, ConfigDict], folder: Path, options: dict[str, Any]
) -> dict[str, tuple["Planned", ...]]:
    """The trainings of every run that is not finished, by name, after checking its config."""
    from jaxmask import recipe
    from jaxmask.run import directory

    found = {}
    for name, run in runs.items():
        try:
            signals.obey()
            if directory.result_of(folder / name, run) is None:
                # again when it starts: all datasets at once may be too large
                found[name] = recipe.prepare(run, **options).planned
        except InputError as error:
            raise error.at(name) from None
    return found


def _ended(
    config: ConfigDict,
    runs: dict[str, ConfigDict],
    planned: dict[str, tuple["Planned", ...]],
    folder: Path,
    engine: engines.Engine | None,
    options: dict[str, Any],
) -> Iterator["Ended"]:
    """Carries out the planned runs; yields how each ended."""
    from jaxmask.engine import cluster, local
    from jaxmask.engine.grid import Grid

    cache = config.get("compilation_cache", "")
    grid = Grid(runs, planned, folder, config.get("together", 0), cache, options)
    if engine is not None:
        return cluster.work(grid, *engine)
    cluster.refuse_driven(folder)
    return local.work(grid)


@contextmanager
def _bar(total: int, done: int, shown: bool) -> Iterator[Callable[[], None]]:
    """A bar of runs, for the terminal; yields a function that moves it on.

    Args:
      shown: unless trainings in this process show bars of their own.
    """
    from rich import progress
    from rich.console import Console

    console = Console(stderr=True)
    columns = ("runs", progress.BarColumn(24), progress.MofNCompleteColumn())
    with progress.Progress(
        *columns, progress.TimeRemainingColumn(), console=console, transient=True,
        redirect_stdout=sys.stdout.isatty(), disable=not (shown and console.is_terminal),
    ) as bar:  # fmt: skip
        task = bar.add_task("runs", total=total, completed=done)
        yield lambda: bar.advance(task)


def _told(ended: "Ended") -> str:
    if ended.failed:
        return f"failed: {ended.failed}"
    reached = "not trained" if ended.accuracy is None else f"{ended.accuracy:.2%}"
    return f"{reached}, {ended.seconds:.1f} s"


def _axis(axis: Any, known: set[str]) -> list[list[tuple[str, Any]]]:
    """The points of an axis, each a list of (field, value)."""
    try:
        names, values = axis
        fields = names.split(",")
        values = list(values)
    except (TypeError, ValueError, AttributeError):
        raise InputError(f"grid: {axis!r} is not an axis; give (field, (value, ...))") from None
    for field in fields:
        if field not in known:
            raise InputError(
                f"grid: the config has no field {field!r}{configs.renamed(field, known)}"
            )
    if not values:
        raise InputError(f"grid: the axis {names!r} has no values; give at least one")
    points = [(value,) if len(fields) == 1 else value for value in values]
    for point in points:
        if not isinstance(point, tuple | list) or len(point) != len(fields):
            raise InputError(f"grid: {point!r} does not give a value to each of {names!r}")
    return [list(zip(fields, point)) for point in points]


def _set(config: ConfigDict, field: str, value: Any) -> None:
    default = dict(configs.fields(config))[field]
    if isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if type(value) is not type(default):
        kind = type(default).__name__
        raise InputError(f"grid: {field} is {value!r}; it must be {kind}, like {default!r}")
    config.update_from_flattened_dict({field: value})


def _name(values: dict[str, Any]) -> str:
    text = ",".join(f"{field}={value}" for field, value in values.items())
    plain = re.sub(r"[^\w.,=+-]+", "_", text)
    # two runs may have differed only in the replaced or cut characters
    if plain == text and len(text) <= LONGEST_NAME:
        return plain
    return f"{plain[:LONGEST_NAME]}-{zlib.crc32(text.encode()):08x}"


def main(arguments: Sequence[str]) -> int:
    """Runs the grid that the arguments describe; returns the status of `run.main`.

    With an engine, it does so in a process of its own: Ray ends it without a word if its cluster
    is lost. That process keeps off the accelerators.
    """
    status, engine, rest = engines.taken(engines.parse, arguments)
    if status:
        return status
    if engine is None:
        return command.main(rest, sweep, SWEEP)
    work = partial(command.main, rest, partial(sweep, engine=engine), SWEEP)
    return supervised(work, engines.LOST, JAX_PLATFORMS="cpu")


def run() -> None:
    """The entry point of the command."""
    absl_flags.start(main)
