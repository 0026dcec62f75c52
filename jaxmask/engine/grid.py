"""What all engines share: the runs of a grid, and carrying out some of them side by side."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from jaxmask import recipe
from jaxmask.errors import InputError
from jaxmask.run import driver, programs
from jaxmask.run.plan import Planned
from jaxmask.run.result import Result

TOGETHER = 16  # runs under one vmap on an accelerator


class Grid(NamedTuple):
    """A grid, of which some runs may be finished.

    Attributes:
      runs: the configs of all runs, in order, by the names of their run directories in `folder`.
      planned: the trainings of those that are left, by name.
      together: how many are trained as one program under `vmap`, if they have the same shapes; 0
        is one on a CPU, else `TOGETHER`.
      cache: the folder of compiled programs, as `compilation.use_cache` takes it.
      options: of the recipe, as for `recipe.prepare`.
    """

    runs: Mapping[str, ConfigDict]
    planned: Mapping[str, Sequence[Planned]]
    folder: Path
    together: int = 0
    cache: str = ""
    options: Mapping[str, Any] = {}

    def stacked(self, accelerator: bool) -> int:
        """How many runs are trained together."""
        return self.together or (TOGETHER if accelerator else 1)


class Ended(NamedTuple):
    """How a run ended: with a test accuracy (None if it has none), or with the message `failed`."""

    name: str
    accuracy: float | None = None
    seconds: float = 0.0
    failed: str = ""


def carry_out(grid: Grid, names: Sequence[str]) -> Iterator[Ended]:
    """Carries out these runs side by side, each in its run directory; yields how each ended."""
    programs.relieve()
    begun: list[tuple[str, driver.Experiment]] = []
    results: list[Result | InputError]
    for name in names:
        try:
            begin = recipe.prepare(grid.runs[name], **grid.options)
            begun.append((name, begin(grid.folder / name, grid.folder / "initial")))
        except InputError as error:
            yield Ended(name, failed=str(error))
    if len(begun) == 1:
        try:
            results = [driver.alone(begun[0][1])]
        except InputError as error:
            results = [error]
    else:
        results = driver.together([experiment for _, experiment in begun])
    for (name, _), result in zip(begun, results, strict=True):
        yield _ended(name, result)


def _ended(name: str, result: Result | InputError) -> Ended:
    if isinstance(result, InputError):
        return Ended(name, failed=str(result))
    return Ended(name, result.accuracy, result.seconds)
