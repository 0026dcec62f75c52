"""A method that learns without labels: trained by a loss of views, then measured by classifiers."""

from collections.abc import Callable, Generator, Hashable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
from ml_collections import ConfigDict

from jaxmask import adapter, loss, signals
from jaxmask.adapter import Adapter, Stored
from jaxmask.errors import InputError, check_numbers
from jaxmask.model import weights
from jaxmask.run import directory, measured, result, starting, stored
from jaxmask.run.embedding import knn_accuracy
from jaxmask.run.measured import CLASSIFIERS, Draw, Trainings
from jaxmask.run.method import (
    UNKNOWN,
    Results,
    check_rules,
    identity_of,
    site_of,
    trained_numbers,
)
from jaxmask.run.plan import Planned, below
from jaxmask.run.programs import shared
from jaxmask.run.seeds import named_key
from jaxmask.run.task import Task, about_network
from jaxmask.run.trainer import Ready, Trainer, Training, make_trainer
from jaxmask.run.tuning import Choice, best_choice
from jaxmask.run.unlabeled import loss_of
from jaxmask.train import loop, unlabeled
from jaxmask.train.feed import Feed
from jaxmask.train.state import State

UNTOUCHED = "untouched"  # the starting network, as a method


class Begin(NamedTuple):
    """A method, checked: (starting weights, run directory, earlier results) -> its trainings."""

    run: Callable[[starting.Start, Path, Results], Trainings]
    planned: tuple[Planned, ...] = ()


class Learning(NamedTuple):
    """A method that can learn.

    Attributes:
      section: its config section, settled.
      adapter, trainer, loss: as these describe.
      identity: of the adapter's functions.
      features: the size of an embedding.
      accuracy: (state, frozen) -> of k-NN on the held-out images.
    """

    name: str
    task: Task
    config: ConfigDict
    section: ConfigDict
    adapter: Adapter
    trainer: Trainer
    loss: loss.ViewLoss
    identity: Hashable
    features: int
    accuracy: Callable[[State, Any], float]


class Learned(NamedTuple):
    """A finished training.

    Attributes:
      fit: with the learned trees.
      frozen: the adapter's frozen trees.
      params: of the base network; its head is random.
      content: what the adapter stores.
      variables: of the adapted network.
      accuracy: of k-NN on the held-out images.
    """

    fit: loop.Fit
    frozen: Any
    params: Any
    content: Stored
    variables: dict[str, Any]
    accuracy: float


class Tuned(NamedTuple):
    """The best of the values that a method tried."""

    learned: Learned
    value: float
    choices: list[Choice]


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


def learning(
    name: str, method: adapter.Method, task: Task, config: ConfigDict, before: Sequence[str] = ()
) -> Learning:
    """A method that learns as its config section says.

    Args:
      before: the names of the methods whose results may settle its section.

    Raises:
      InputError: a field has an invalid value, or the network gives no features.
    """
    site = site_of(task, config, "freeze")
    section = method.settle(config[name], dict.fromkeys(before, UNKNOWN))
    way, identity = method.build(section, site), identity_of(name, method, section, site)
    check_rules(name, way, site.parameters)
    of_views, features, training = loss_of(task, config)
    trainer = make_trainer(
        task, section.train, way, config.seed, f"{name}.train", identity, unlabeled=training
    )
    check_numbers("watch_epochs", [config.watch_epochs], 1)
    check_numbers("watch_neighbors", [config.watch_neighbors], 1)
    accuracy = knn_accuracy(task, way, identity, config.watch_neighbors)
    return Learning(
        name, task, config, section, way, trainer, of_views, identity, features, accuracy
    )


def planned(at: Learning) -> tuple[Planned, ...]:
    """The trainings of `tune`."""
    places = _places(at.section).values()
    return tuple(at.trainer.planned._replace(place=Path(place)) for place in places)


def _places(section: ConfigDict) -> dict[float, str]:
    """The run directory of each value to try: that of the method, if there is but one."""
    if len(section.choices) == 1:
        return {section.choices[0]: ""}
    return {value: f"choices/{section.tune}_{value!r}" for value in section.choices}


def tune(at: Learning, start: starting.Start, folder: Path) -> Generator[Training, loop.Fit, Tuned]:
    """Trains with each value of the tuned field; takes the best by k-NN on held-out images."""
    tried: dict[float, Learned] = {}
    for value, place in _places(at.section).items():
        ready, params = from_start(at, start)
        fit = yield training(at, ready, value, folder / place)
        tried[value] = learned(at, fit, ready, params)
    choices = [Choice(value, each.accuracy, 0.0, each.fit.seconds) for value, each in tried.items()]
    best = best_choice(at.name, choices)
    return Tuned(tried[best], best, choices)


def from_start(at: Learning, start: starting.Start, name: str = "") -> tuple[Ready, Any]:
    """The trees before the first step, and the base network's parameters.

    Args:
      name: determines the randomness; by default the method's.
    """
    seed, name = at.config.seed, name or at.name
    variables = starting.starting_variables(at.task, start, named_key(seed, f"{name}/weights"))
    trees, frozen = at.adapter.init(named_key(seed, f"{name}/scores"), variables["params"])
    ready = Ready(with_loss(at, trees, name), frozen, variables["batch_stats"])
    return ready, variables["params"]


def with_loss(at: Learning, trees: dict[str, Any], name: str) -> dict[str, Any]:
    """The learned trees of a network, and new ones of the loss; `name`: of their randomness."""
    new = at.loss.init(named_key(at.config.seed, f"{name}/loss"), at.features)
    return {**trees, unlabeled.LOSS: new}


def training(
    at: Learning,
    ready: Ready,
    value: float,
    folder: Path,
    name: str = "",
    feed: Feed | None = None,
) -> Training:
    """A training with one value of the tuned field, not started.

    Args:
      name: determines the randomness; by default the method's.
      feed: the examples; by default all of the training split.
    """

    def watched(state: State) -> dict[str, float]:
        return {"knn_accuracy": at.accuracy(state, ready.frozen)}

    name = name or at.name
    watch = loop.Watch(at.config.watch_epochs, watched, partial(_fault, at.config.least_spread))
    rates = {at.section.tune: value}
    return at.trainer.job(ready, rates, name, folder, name, watch=watch, train=feed)


def learned(at: Learning, fit: loop.Fit, ready: Ready, params: Any, name: str = "") -> Learned:
    """What a training has learned.

    Raises:
      InputError: its loss was not finite, or its embeddings have collapsed.
    """
    signals.obey()
    if fit.epoch == 0 or fit.fault:
        why = fit.fault or "the loss is not finite; lower the rates or set train.clip"
        raise InputError(
            f"{name or at.name}, after {fit.steps} steps: {why}; then give another --workdir"
        )
    network = unlabeled.without_loss(fit.learned)
    parameters = shared("parameters", at.identity, lambda: jax.jit(at.adapter.parameters))
    adapted = {
        "params": parameters(network, ready.frozen),
        "batch_stats": fit.batch_stats,
    }
    last = at.accuracy(fit.last, ready.frozen)
    content = at.adapter.store(network, ready.frozen)
    return Learned(fit, ready.frozen, params, content, adapted, last)


def _fault(least_spread: float, means: Mapping[str, float]) -> str:
    """Why training is to end after an epoch with these means; "" if nothing is wrong."""
    if means.get("spread", 1.0) < least_spread:
        return (
            f"the embeddings have collapsed (their spread is {means['spread']:.2g}): lower the "
            "rates, use more prototypes, or a larger batch"
        )
    return ""


def numbers(found: Learned) -> int:
    """The number of learned parameters of the network, without those of the loss."""
    return trained_numbers(unlabeled.without_loss(found.fit.learned), found.frozen)


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
    fit, places = learned.fit, _places(at.section).values()
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
