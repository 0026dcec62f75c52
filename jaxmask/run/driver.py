"""Experiments as generators that request training, so that several can be trained at once.

An experiment yields each `Training` that it needs, is sent the `Fit`, and returns the content of
its `result.json`. It may also yield a list of trainings to run side by side, and is sent the list
of fits. The driver decides whether a training runs alone or stacked with others.
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

Asked = Training | list[Training]
Experiment = Generator[Asked, Any, Result]  # is sent a Fit, or a list of them


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
        answer = None
        try:
            while True:
                asked = experiment.send(answer)
                fits = _fits(_listed(asked))
                answer = fits if isinstance(asked, list) else fits[0]
        except StopIteration as end:
            return end.value


def together(experiments: Sequence[Experiment]) -> list[Result | InputError]:
    """Runs experiments side by side; trainings of the same program and shapes run under `vmap`.

    Returns:
      The result of each, or the InputError that ended it; the others continue.
    """
    results: list[Any] = [None] * len(experiments)
    wanted: dict[int, Asked] = {}

    def advance(index: int, answer: Any) -> None:
        wanted.pop(index, None)
        try:
            wanted[index] = experiments[index].send(answer)
        except StopIteration as end:
            results[index] = end.value
        except InputError as error:
            results[index] = error

    with ExitStack() as opened:
        for index, experiment in enumerate(experiments):
            opened.enter_context(closing(experiment))
            advance(index, None)
        while wanted:
            asked = dict(wanted)
            fits = iter(_fits([each for some in asked.values() for each in _listed(some)]))
            for index, some in asked.items():
                answers = [next(fits) for _ in _listed(some)]
                advance(index, answers if isinstance(some, list) else answers[0])
    return results


def _listed(asked: Asked) -> list[Training]:
    return asked if isinstance(asked, list) else [asked]


def _fits(trainings: Sequence[Training]) -> list[loop.Fit]:
    """The fit of each training; those of a kind are trained together."""
    alike: dict[Any, list[int]] = {}
    for place, training in enumerate(trainings):
        alike.setdefault(_kind(training), []).append(place)
    found: dict[int, loop.Fit] = {}
    for places in alike.values():
        programs, jobs = trainings[places[0]].programs, [trainings[place].job for place in places]
        alone = len(jobs) == 1
        fits = [loop.fit(programs, jobs[0])] if alone else loop.fit_together(programs, jobs)
        found.update(zip(places, fits))
    return [found[place] for place in range(len(trainings))]


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
