"""A grid carried out by this process, beside others of this machine that do the same."""

import time
from collections.abc import Iterator
from contextlib import ExitStack

import jax

from jaxmask import files, signals
from jaxmask.engine.grid import Ended, Grid, carry_out


def work(grid: Grid) -> Iterator[Ended]:
    """Carries out the planned runs; yields how each ended, if no other process has done it.

    Raises:
      Interrupted: by SIGTERM or Ctrl-C; checkpoints were saved.
    """
    left, at_once = list(grid.planned), grid.stacked(jax.default_backend() != "cpu")
    while left:
        signals.obey()
        with ExitStack() as stack:
            batch: list[str] = []
            for name in left:
                if len(batch) < at_once and stack.enter_context(
                    files.locked(grid.folder / ".locks" / name)
                ):
                    batch.append(name)
            # another process may have finished some of them in the meantime
            mine = [name for name in batch if not (grid.folder / name / "result.json").exists()]
            yield from carry_out(grid, mine)
        for name in batch:
            left.remove(name)
        if not batch:
            time.sleep(1.0)  # other processes are doing the remaining runs
