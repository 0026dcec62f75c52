"""Which runs of a grid are trained together, fixed by the grid, and what a worker does next."""

import itertools
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from jaxmask.run.plan import Planned


class Batch(NamedTuple):
    """Runs that one worker carries out side by side.

    Attributes:
      names: of the runs.
      kind: equal for batches that need the same compiled programs, as far as can be told before
        they start: the networks, image shapes and batch sizes of their trainings.
    """

    names: tuple[str, ...]
    kind: frozenset[Any]


def batches(
    runs: Sequence[str], planned: Mapping[str, Sequence[Planned]], size: int
) -> list[Batch]:
    """The runs that are left, `size` at a time, in the grid's order.

    The cuts are those of the whole grid: which runs are stacked does not depend on how many were
    finished before, as long as those of a batch finish together.

    Args:
      runs: the names of all runs, in the grid's order.
      planned: the trainings of those that are not finished, by name.

    Example:
      >>> from jaxmask.engine.batches import batches
      >>> planned = {name: () for name in "abde"}
      >>> [batch.names for batch in batches("abcde", planned, 2)]
      [('a', 'b'), ('d',), ('e',)]
    """
    found = []
    for first in range(0, len(runs), size):
        if mine := tuple(name for name in runs[first : first + size] if name in planned):
            kinds = (_kind(each) for name in mine for each in planned[name])
            found.append(Batch(mine, frozenset(kinds)))
    return found


def _kind(planned: Planned) -> tuple[Any, ...]:
    return planned.network, planned.image_shape, planned.batch_size, planned.passes


def choose(
    pending: Sequence[Batch], compiled: Collection[Any], elsewhere: Collection[Any]
) -> Batch:
    """The batch that a worker does next: of a kind that it has compiled, else that nobody has.

    If there is neither, the first.

    Args:
      pending: at least one batch, in the grid's order.
      compiled: the kinds of the batches that this worker has done.
      elsewhere: those of all other workers.
    """
    known = (batch for batch in pending if batch.kind in compiled)
    new = (batch for batch in pending if batch.kind not in elsewhere)
    return next(itertools.chain(known, new, pending))
