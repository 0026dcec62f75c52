"""Experiments as generators that request training, so that several can be trained at once.

An experiment yields each `Training` that it needs, is sent the `Fit`, and returns the content of
its `result.json`. The driver decides whether a training runs alone or stacked with those of other
experiments.
"""

from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, closing
from typing import Any, NamedTuple

import jax

from jaxmask.errors import InputError
from jaxmask.run.plan import Planned
from jaxmask.run.result import Result
from jaxmask.run.trainer import Training
from jaxmask.train import loop

Experiment = Generator[Training, loop.Fit, Result]


class Begin(NamedTuple):
    """A checked experiment that has not begun; calling it begins it.

    Attributes:
      run: (run directory, the folder for files that the runs of a grid share, or None) ->
        experiment. A method of a comparison takes what `run.method.trained` says.
      planned: the trainings that it requests, in order, unless parts of it are finished.
    """

    run: Callable[..., Experiment]
    planned: tuple[Planned, ...]

    def __call__(self, *arguments: Any) -> Experiment:
        return self.run(*arguments)


def alone(experiment: Experiment) -> Result:
    """Runs one experiment; returns its result."""
    with closing(experiment):  # it may hold its run directory
        try:
            training = next(experiment)
            while True:
                training = experiment.send(loop.fit(training.programs, training.job))
        except StopIteration as end:
            return end.value


def together(experiments: Sequence[Experiment]) -> list[Result | InputError]:
    """Runs experiments side by side; trainings of the same program and shapes run under `vmap`.

    Returns:
      The result of each, or the InputError that ended it; the others continue.
    """
    results: list[Any] = [None] * len(experiments)
    wanted: dict[int, Training] = {}

    def advance(index: int, fit: loop.Fit | None) -> None:
        wanted.pop(index, None)
        try:
            wanted[index] = experiments[index].send(fit)  # type: ignore[arg-type]
        except StopIteration as end:
            results[index] = end.value
        except InputError as error:
            results[index] = error

    with ExitStack() as opened:
        for index, experiment in enumerate(experiments):
            opened.enter_context(closing(experiment))
            advance(index, None)
        while wanted:
            alike: dict[Any, list[int]] = {}
            for index, training in wanted.items():
                alike.setdefault(_kind(training), []).append(index)
            for members in alike.values():
                programs = wanted[members[0]].programs
                fits = loop.fit_together(programs, [wanted[index].job for index in members])
                for index, fit in zip(members, fits):
                    advance(index, fit)
    return results


def _kind(training: Training) -> tuple[Any, ...]:
    """Equal for trainings that can be stacked."""
    job = training.job
    held_out = job.validation.examples if job.validation else 0
    settings = job.settings._replace(seed=0)
    keep = job.keep.step if job.keep else None
    trees = (job.state, job.frozen)
    shapes = tuple((leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(trees))
    return (
        id(training.programs), settings, job.train.examples, held_out, keep,
        jax.tree.structure(trees), shapes,
    )  # fmt: skip
