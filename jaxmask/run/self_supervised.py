"""A method that learns without labels: trained by a loss of views, then measured by classifiers."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from ml_collections import ConfigDict

from jaxmask import adapter
from jaxmask.model import weights
from jaxmask.run import directory, measured, result, starting, stored
from jaxmask.run.learning import (
    Learned,
    Learning,
    Tuned,
    learning,
    numbers,
    places_of,
    planned,
    tune,
)
from jaxmask.run.measured import CLASSIFIERS, Draw, Trainings
from jaxmask.run.method import Results, site_of
from jaxmask.run.plan import Planned, below
from jaxmask.run.task import Task, about_network

UNTOUCHED = "untouched"  # the starting network, as a method


class Begin(NamedTuple):
    """A method, checked: (starting weights, run directory, earlier results) -> its trainings."""

    run: Callable[[starting.Start, Path, Results], Trainings]
    planned: tuple[Planned, ...] = ()


def untouched(task: Task, config: ConfigDict, draw: Draw) -> Begin:
    """The starting network, measured as it is."""
    own = directory.of_methods(config)
    classifiers = measured.classifiers(task, config, draw)

    def run(start: starting.Start, folder: Path, results: Results) -> Trainings:
        finished = directory.begin(folder, own)
        if finished is not None:
            return finished
        found = yield from classifiers(start, folder)
        return result.write(folder, measured.of(UNTOUCHED, task, config, found))

    return Begin(run)


def trained(
    name: str,
    method: adapter.Method,
    before: Sequence[str],
    task: Task,
    config: ConfigDict,
    draw: Draw,
) -> Begin:
    """A method of `adapter.METHODS`, trained without labels.

    Args:
      before: the names of the methods before it.

    Raises:
      InputError: a field has an invalid value, or the network gives no features.
    """
    own = directory.of_methods(config, name)
    planning = learning(name, method, task, own, before)
    classifiers = measured.classifiers(task, config, draw)

    def run(start: starting.Start, folder: Path, results: Results) -> Trainings:
        finished = directory.begin(folder, own)
        if finished is not None:
            return finished
        section = method.settle(config[name], results)
        way = method.build(section, site_of(task, config, "freeze"))
        at = planning._replace(section=section, adapter=way)
        tuned = yield from tune(at, start, folder)
        save_network(at, tuned.learned, folder)
        adapted = starting.Start(tuned.learned.variables, name, head_in_base=start.head_in_base)
        found = yield from classifiers(adapted, folder)
        return finish(at, start, tuned, found, folder, draw)

    return Begin(run, planned(planning))


def save_network(at: Learning, found: Learned, folder: Path) -> None:
    """Writes the adapted network, from which other experiments can start."""
    about = {**about_network(at.config.network, at.task), "dataset": at.task.dataset.name}
    weights.save(folder / weights.NAME, found.variables, about)


def finish(
    at: Learning,
    start: starting.Start,
    tuned: Tuned,
    found: Mapping[str, result.Result],
    folder: Path,
    draw: Draw,
    name: str = "",
) -> result.Result:
    """Writes the task (the mask, with the probe as its head), the figures and the result."""
    learned, choices = tuned.learned, tuned.choices
    fit, places = learned.fit, places_of(at.section).values()
    whole = measured.of(
        name or at.name, at.task, at.config, found,
        **measured.masks(learned.content.masks, at.task, at.config),
        steps=fit.steps, seconds=fit.seconds,
        trained_numbers=numbers(learned),
        watched_accuracy=learned.accuracy,
        runs=[*CLASSIFIERS, *(places if len(places) > 1 else ())],
        choices=[choice._asdict() for choice in choices],
        seconds_of_choices=sum(choice.seconds for choice in choices),
        **{at.section.tune: tuned.value},
    )  # fmt: skip
    probe = stored.head_of(folder / "linear_probe")
    variables = {"params": {**learned.params, "head": probe}, "batch_stats": fit.batch_stats}
    size = stored.write_task(
        folder, at.task, at.config, start, learned.content, variables,
        whole._replace(method=at.name), {at.section.tune: tuned.value},
    )  # fmt: skip
    whole = whole._replace(storage_bytes=size)
    draw(folder, whole)
    return result.write(folder, whole)


def planned_below(places: Mapping[str, Begin]) -> tuple[Planned, ...]:
    """The trainings of all methods, each in its folder."""
    return tuple(each for name, begin in places.items() for each in below(name, begin.planned))
