"""Several training runs as one program: their trees stacked along a new first axis."""

from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxmask.train.epoch import Programs
from jaxmask.train.evaluation import evaluate
from jaxmask.train.job import Job
from jaxmask.train.stack import stacked
from jaxmask.train.state import State, Sums, Tree


class Lanes:
    """Runs at the same step, side by side; a single run is not stacked.

    Attributes:
      state: of all runs.
    """

    def __init__(self, programs: Programs, jobs: Sequence[Job], states: Sequence[State]) -> None:
        self._programs, self._jobs = programs, jobs
        self._many = len(jobs) > 1
        self.state = stacked(states)
        self._frozen = stacked([job.frozen for job in jobs])
        residents = [job.train.resident for job in jobs]
        self._shared = all(each is residents[0] for each in residents)  # one copy for all runs
        self._resident = residents[0] if self._shared else stacked(residents)
        self._held_out = [job.validation for job in jobs if job.validation is not None]
        self._held_out_resident = stacked([feed.resident for feed in self._held_out])
        self._bits = programs.bits(states[0].learned, jobs[0].frozen)

    @property
    def streams(self) -> bool:
        """Whether the data comes from the host instead of lying on the device."""
        return not jax.tree.leaves(self._resident)

    def scan(self, xs: Tree) -> None:
        """Trains on one piece of data from `chunks`."""
        arguments = self.state, self._frozen, self._resident, xs
        if self._many:
            self.state = self._programs.train_together(*arguments, shared=self._shared)
        else:
            self.state = self._programs.train(*arguments)

    def read(self) -> tuple[int, list[dict[str, float]]]:
        """The steps done, and each run's means over the current epoch, in one transfer."""
        step, sums = jax.device_get((self.state.step, self.state.sums))
        return int(np.ravel(step)[0]), self._means(sums)

    def begin_epoch(self) -> None:
        """Sets the sums of the current epoch to zero."""
        self.state = self.state._replace(sums=jax.tree.map(jnp.zeros_like, self.state.sums))

    def evaluate(self, wait: Callable[[float], None]) -> list[dict[str, float]]:
        """Each run's loss and accuracy on its validation split; {} without one."""
        if not self._held_out:
            return [{} for _ in self._jobs]
        programs = self._programs
        sums = evaluate(
            programs.evaluate_together if self._many else programs.evaluate,
            self.state.learned, self.state.batch_stats, self._frozen, self._held_out,
            self._held_out_resident, self._jobs[0].settings.evaluation_batch, wait,
        )  # fmt: skip
        return self._means(sums)

    def one(self, index: int) -> State:
        """One run's part of the state, from which it can continue alone."""
        return jax.tree.map(lambda leaf: leaf[index], self.state) if self._many else self.state

    def density(self, index: int) -> float | None:
        """The density of one run's masks; None if it has none."""
        if not self._bits:
            return None
        kept = self._programs.kept(self.one(index).learned, self._jobs[index].frozen)
        return sum(int(count) for count in jax.device_get(jax.tree.leaves(kept))) / self._bits

    def _means(self, sums: Sums) -> list[dict[str, float]]:
        if not self._many:
            return [sums.means()]
        columns: Any = jax.device_get(sums)
        count = len(self._jobs)
        return [jax.tree.map(itemgetter(index), columns).means() for index in range(count)]
