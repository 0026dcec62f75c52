"""A method that learns without labels: trained by a loss of views, then measured by classifiers."""

from collections.abc import Callable, Generator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
from ml_collections import ConfigDict

from jaxmask import adapter, loss, signals, tree
from jaxmask.adapter import Adapter, Stored
from jaxmask.errors import InputError, check_numbers
from jaxmask.mask import measure
from jaxmask.model import weights
from jaxmask.run import directory, evaluator, result, starting, stored
from jaxmask.run.embedding import knn_accuracy
from jaxmask.run.method import UNKNOWN, Results, check_rules, identity_of, site_of
from jaxmask.run.plan import Planned, below
from jaxmask.run.result import Result
from jaxmask.run.seeds import named_key
from jaxmask.run.task import Task, about_network, axes
from jaxmask.run.trainer import Ready, Trainer, Training, make_trainer
from jaxmask.run.tuning import Choice, best_choice
from jaxmask.run.unlabeled import loss_of
from jaxmask.train import loop, unlabeled
from jaxmask.train.state import State

CLASSIFIERS = ("knn", "linear_probe")  # which measure embeddings
Draw = Callable[[Path, Result], None]
Trainings = Generator[Training, loop.Fit, Result]


class Begin(NamedTuple):
    """A method, checked: (starting weights, run directory, earlier results) -> its trainings."""

    run: Callable[[starting.Start, Path, Results], Trainings]
    planned: tuple[Planned, ...] = ()


class _Learning(NamedTuple):
    """A running method: its name, config section, adapter, trainer, loss, and feature size."""

    name: str
    task: Task
    config: ConfigDict
    section: ConfigDict
    adapter: Adapter
    trainer: Trainer
    loss: loss.ViewLoss
    features: int
    start: starting.Start


class _Learned(NamedTuple):
    """A finished training."""

    fit: loop.Fit
    params: Any  # of the base network
    content: Stored
    variables: dict[str, Any]  # of the adapted network
    accuracy: float  # of k-NN on the held-out images


def untouched(task: Task, config: ConfigDict, draw: Draw) -> Begin:
    """The starting network, measured as it is."""
    own = config.copy_and_resolve_references()
    own.methods = ()
    classifiers = _classifiers(task, config, draw)

    def run(start: starting.Start, folder: Path, results: Results) -> Trainings:
        finished = directory.begin(folder, own)
        if finished is not None:
            return finished
        found = yield from classifiers(start, folder)
        return result.write(folder, _measured("untouched", task, config, found))

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
    site = site_of(task, config, "freeze")
    section = method.settle(config[name], dict.fromkeys(before, UNKNOWN))
    way, identity = method.build(section, site), identity_of(name, method, section, site)
    check_rules(name, way, site.parameters)
    of_views, features, training = loss_of(task, config)
    trainer = make_trainer(
        task, section.train, way, config.seed, f"{name}.train", identity, unlabeled=training
    )
    classifiers = _classifiers(task, config, draw)
    check_numbers("watch_epochs", [config.watch_epochs], 1)
    check_numbers("watch_neighbors", [config.watch_neighbors], 1)
    own = config.copy_and_resolve_references()
    own.methods = (name,)
    places = _places(section)

    def run(start: starting.Start, folder: Path, results: Results) -> Trainings:
        finished = directory.begin(folder, own)
        if finished is not None:
            return finished
        settled = method.settle(config[name], results)
        found_way = method.build(settled, site)
        at = _Learning(name, task, own, settled, found_way, trainer, of_views, features, start)
        tried: dict[float, _Learned] = {}
        for value, place in places.items():
            tried[value] = yield from _train(at, value, folder / place)
        choices = [
            Choice(value, each.accuracy, 0.0, each.fit.seconds) for value, each in tried.items()
        ]
        best = best_choice(name, choices)
        learned = tried[best]
        about = {**about_network(config.network, task), "dataset": task.dataset.name}
        weights.save(folder / weights.NAME, learned.variables, about)
        adapted = starting.Start(learned.variables, name, head_in_base=start.head_in_base)
        found = yield from classifiers(adapted, folder)
        return _finish(at, learned, best, choices, found, folder, draw)

    return Begin(
        run, tuple(trainer.planned._replace(place=Path(place)) for place in places.values())
    )


def _places(section: ConfigDict) -> dict[float, str]:
    """The run directory of each value to try: that of the method, if there is but one."""
    if len(section.choices) == 1:
        return {section.choices[0]: ""}
    return {value: f"choices/{section.tune}_{value!r}" for value in section.choices}


def _train(at: _Learning, value: float, folder: Path) -> Generator[Training, loop.Fit, _Learned]:
    """Trains with one value of the tuned field."""
    seed = at.config.seed
    key = named_key(seed, f"{at.name}/weights")
    variables = starting.starting_variables(at.task, at.start, key)
    learned, frozen = at.adapter.init(named_key(seed, f"{at.name}/scores"), variables["params"])
    more = at.loss.init(named_key(seed, f"{at.name}/loss"), at.features)
    ready = Ready({**learned, unlabeled.LOSS: more}, frozen, variables["batch_stats"])
    accuracy = knn_accuracy(at.task, at.adapter, at.config.watch_neighbors)

    def watched(state: State) -> dict[str, float]:
        return {"knn_accuracy": accuracy(state, frozen)}

    watch = loop.Watch(at.config.watch_epochs, watched, partial(_fault, at.config.least_spread))
    rates = {at.section.tune: value}
    fit = yield at.trainer.job(ready, rates, at.name, folder, at.name, watch=watch)
    signals.obey()
    if fit.epoch == 0 or fit.fault:
        why = fit.fault or "the loss is not finite; lower the rates or set train.clip"
        raise InputError(f"{at.name}, after {fit.steps} steps: {why}; then give another --workdir")
    network = unlabeled.without_loss(fit.learned)
    adapted = {
        "params": jax.jit(at.adapter.parameters)(network, frozen),
        "batch_stats": fit.batch_stats,
    }
    last = accuracy(fit.last, frozen)
    content = at.adapter.store(network, frozen)
    return _Learned(fit, variables["params"], content, adapted, last)


def _fault(least_spread: float, means: Mapping[str, float]) -> str:
    """Why training is to end after an epoch with these means; "" if nothing is wrong."""
    if means.get("spread", 1.0) < least_spread:
        return (
            f"the embeddings have collapsed (their spread is {means['spread']:.2g}): lower the "
            "rates, use more prototypes, or a larger batch"
        )
    return ""


def _classifiers(
    task: Task, config: ConfigDict, draw: Draw
) -> Callable[[starting.Start, Path], Generator[Training, loop.Fit, dict[str, Result]]]:
    """Measures a network's embeddings: each classifier in a folder below the given one."""
    made = {
        name: evaluator.fitted(name, adapter.EVALUATORS[name], task, config, draw)
        for name in CLASSIFIERS
    }

    def run(
        start: starting.Start, folder: Path
    ) -> Generator[Training, loop.Fit, dict[str, Result]]:
        found: dict[str, Result] = {}
        for name, begin in made.items():
            found[name] = yield from begin(start, folder / name, found)
        return found

    return run


def _measured(
    name: str, task: Task, config: ConfigDict, found: Mapping[str, Result], **more: Any
) -> Result:
    """A result with the accuracies of both classifiers; `accuracy` is the probe's."""
    probe, knn = found["linear_probe"], found["knn"]
    return Result(
        recipe="self_mask",
        method=name,
        dataset=task.dataset.name,
        seed=config.seed,
        accuracy=probe.accuracy,
        validation_accuracy=probe.validation_accuracy,
        storage_bytes=more.pop("storage_bytes", 0),
        steps=more.pop("steps", 0),
        seconds=more.pop("seconds", 0.0),
        network=config.network.name,
        density=more.pop("density", 1.0),
        density_by_leaf=more.pop("density_by_leaf", {}),
        empty_leaves=more.pop("empty_leaves", ()),
        mask_bits=more.pop("mask_bits", 0),
        trained_numbers=more.pop("trained_numbers", 0),
        more={
            "knn_accuracy": knn.accuracy,
            "knn_validation_accuracy": knn.validation_accuracy,
            "runs": more.pop("runs", list(CLASSIFIERS)),
            "seconds_of_choices": 0.0,
            **more,
        },
    )


def _finish(
    at: _Learning,
    learned: _Learned,
    best: float,
    choices: list[Choice],
    found: Mapping[str, Result],
    folder: Path,
    draw: Draw,
) -> Result:
    """Writes the task (the mask, with the probe as its head), the figures and the result."""
    masks, fit = learned.content.masks, learned.fit
    words = axes(at.task, at.config)
    whole = _measured(
        at.name, at.task, at.config, found,
        steps=fit.steps, seconds=fit.seconds, density=float(measure.density(masks)),
        density_by_leaf=measure.density_by_leaf(masks, words),
        empty_leaves=tuple(measure.empty_leaves(masks, words)), mask_bits=tree.size(masks),
        trained_numbers=tree.size({**unlabeled.without_loss(fit.learned), "density": None}),
        watched_accuracy=learned.accuracy,
        runs=[*CLASSIFIERS, *(_places(at.section).values() if len(choices) > 1 else ())],
        choices=[choice._asdict() for choice in choices],
        seconds_of_choices=sum(choice.seconds for choice in choices),
        **{at.section.tune: best},
    )  # fmt: skip
    probe = stored.head_of(folder / "linear_probe")
    variables = {"params": {**learned.params, "head": probe}, "batch_stats": fit.batch_stats}
    size = stored.write_task(
        folder, at.task, at.config, at.start, learned.content, variables, whole,
        {at.section.tune: best},
    )  # fmt: skip
    whole = whole._replace(storage_bytes=size)
    draw(folder, whole)
    return result.write(folder, whole)


def planned_below(places: Mapping[str, Begin]) -> tuple[Planned, ...]:
    """The trainings of all methods, each in its folder."""
    return tuple(each for name, begin in places.items() for each in below(name, begin.planned))
