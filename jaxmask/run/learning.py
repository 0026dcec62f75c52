"""How a method learns without labels: its trainings by a loss of views, and what it has learned."""

from collections.abc import Callable, Generator, Hashable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from absl import logging
from ml_collections import ConfigDict

from jaxmask import adapter, loss, signals
from jaxmask.adapter import Adapter, Stored
from jaxmask.errors import InputError, check_numbers
from jaxmask.run import starting
from jaxmask.run.embedding import watching
from jaxmask.run.method import UNKNOWN, check_rules, identity_of, site_of, trained_numbers
from jaxmask.run.plan import Planned
from jaxmask.run.programs import shared
from jaxmask.run.seeds import named_key
from jaxmask.run.task import Task
from jaxmask.run.trainer import Ready, Trainer, Training, make_trainer
from jaxmask.run.tuning import Choice, best_choice
from jaxmask.run.unlabeled import loss_of
from jaxmask.train import loop, unlabeled
from jaxmask.train.feed import Feed
from jaxmask.train.state import State


class Learning(NamedTuple):
    """A method that can learn.

    Attributes:
      section: its config section, settled.
      adapter, trainer, loss: as these describe.
      identity: of the adapter's functions.
      features: the size of an embedding.
      measures: (state, frozen) -> of its embeddings; see `embedding.watching`.
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
    measures: Callable[[State, Any], dict[str, float]]


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
    check_numbers(f"{name}.choices", section.choices, 0)
    way, identity = method.build(section, site), identity_of(name, method, section, site)
    check_rules(name, way, site.parameters)
    of_views, features, training = loss_of(task, config)
    trainer = make_trainer(
        task, section.train, way, config.seed, f"{name}.train", identity, unlabeled=training
    )
    check_numbers("watch_epochs", [config.watch_epochs], 1)
    check_numbers("watch_neighbors", [config.watch_neighbors], 1)
    measures = watching(task, way, identity, config.watch_neighbors)
    return Learning(
        name, task, config, section, way, trainer, of_views, identity, features, measures
    )


def planned(at: Learning) -> tuple[Planned, ...]:
    """The trainings of `tune`."""
    places = places_of(at.section).values()
    return tuple(at.trainer.planned._replace(place=Path(place)) for place in places)


def places_of(section: ConfigDict) -> dict[float, str]:
    """The run directory of each value to try: that of the method, if there is but one."""
    if len(section.choices) == 1:
        return {section.choices[0]: ""}
    return {value: f"choices/{section.tune}_{value!r}" for value in section.choices}


def tune(at: Learning, start: starting.Start, folder: Path) -> Generator[Training, loop.Fit, Tuned]:
    """Trains with each value of the tuned field; takes the best by k-NN on held-out images.

    Raises:
      InputError: every training failed: a loss was not finite, or embeddings collapsed.
    """
    tried: dict[float, Learned] = {}
    choices: list[Choice] = []
    for value, place in places_of(at.section).items():
        ready, params = from_start(at, start)
        fit = yield training(at, ready, value, folder / place)
        if why := failure(fit):
            choices.append(Choice(value, None, None, fit.seconds))
            logging.warning("%s, %s %g: %s", at.name, at.section.tune, value, why)
        else:
            tried[value] = learned_by(at, fit, ready, params)
            choices.append(Choice(value, tried[value].accuracy, 0.0, fit.seconds))
    if not tried:
        raise failed(at.name, fit)
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

    name = name or at.name
    watch = loop.Watch(
        at.config.watch_epochs, lambda state: at.measures(state, ready.frozen), partial(_fault, at)
    )
    rates = {at.section.tune: value}
    return at.trainer.job(ready, rates, name, folder, name, watch=watch, train=feed)


def failure(fit: loop.Fit) -> str:
    """Why nothing can be taken from a training, and after how many steps; "" if it is sound."""
    if fit.epoch and not fit.fault:
        return ""
    why = fit.fault or "the loss is not finite; lower the rates or set train.clip"
    return f"after {fit.steps} steps: {why}"


def failed(name: str, fit: loop.Fit) -> InputError:
    """The error that ends the run."""
    return InputError(f"{name}, {failure(fit)}; then give another --workdir")


def learned_by(at: Learning, fit: loop.Fit, ready: Ready, params: Any, name: str = "") -> Learned:
    """What a training has learned.

    Raises:
      InputError: its loss was not finite, or its embeddings have collapsed.
    """
    signals.obey()
    if failure(fit):
        raise failed(name or at.name, fit)
    network = unlabeled.without_loss(fit.learned)
    parameters = shared("parameters", at.identity, lambda: jax.jit(at.adapter.parameters))
    adapted = {
        "params": parameters(network, ready.frozen),
        "batch_stats": fit.batch_stats,
    }
    content = at.adapter.store(network, ready.frozen)
    return Learned(fit, ready.frozen, params, content, adapted, fit.watched["knn_accuracy"])


def _fault(at: Learning, values: Mapping[str, float]) -> str:
    """Why training is to end, by an epoch's means and what was watched; "" if nothing is wrong."""
    how = ""
    if values.get("spread", 1.0) < at.config.least_spread:
        how = f"to a point (their spread is {values['spread']:.2g})"
    elif values.get("dimensions", np.inf) < at.config.least_dimensions:
        how = f"onto a line (they spread over {values['dimensions']:.3g} dimensions)"
    elif values.get("prototypes_used", np.inf) < 1.5 / max(_prototypes(at), 1):
        how = "onto a single prototype"
    if not how:
        return ""
    return (
        f"the embeddings have collapsed {how}: lower the rates, use more prototypes, or a larger "
        "batch"
    )


def _prototypes(at: Learning) -> int:
    """How many the loss has."""
    parts = jax.eval_shape(lambda key: at.loss.init(key, at.features), jax.random.key(0))
    return len(parts["prototypes"]) if "prototypes" in parts else 0


def numbers(found: Learned) -> int:
    """The number of learned parameters of the network, without those of the loss."""
    return trained_numbers(unlabeled.without_loss(found.fit.learned), found.frozen)
