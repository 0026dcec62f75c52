"""A method of a comparison that trains: tries its choices, then retrains the best."""

import json
from collections.abc import Callable, Generator, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
from ml_collections import ConfigDict

from jaxmask import model, signals, tree
from jaxmask.adapter import Adapter, Method, Site, Stored
from jaxmask.errors import InputError
from jaxmask.mask import measure
from jaxmask.run import directory, result, starting, stored, texts
from jaxmask.run.driver import Begin
from jaxmask.run.result import Result
from jaxmask.run.seeds import named_key
from jaxmask.run.task import Task, axes, shapes
from jaxmask.run.trainer import Ready, Trainer, Training, make_trainer
from jaxmask.run.tuning import Choice, best_choice
from jaxmask.train import loop
from jaxmask.train.optimizer import RATES
from jaxmask.train.records import Records

Results = Mapping[str, Result]
Draw = Callable[[Path, Result], None]  # draws the figures of a run directory
# stands for the results of earlier methods while a config is checked
UNKNOWN = Result("adapt", "", "", 0, None, None, 0, 0, 0.0)


class _Trained(NamedTuple):
    """A finished training: its fit, the trees it started from, and what to store."""

    fit: loop.Fit
    frozen: dict[str, Any]
    params: Any
    content: Stored
    found: Result


class _Adapting(NamedTuple):
    """A running method.

    Attributes:
      name: of the method.
      section: its config section, settled.
      adapter, trainer: built from the section.
      identity: of the adapter's functions.
      start: the base network's weights.
    """

    name: str
    task: Task
    config: ConfigDict
    section: ConfigDict
    adapter: Adapter
    trainer: Trainer
    identity: Hashable
    start: starting.Start


def trained(
    name: str, method: Method, before: Sequence[str], task: Task, config: ConfigDict, draw: Draw
) -> Begin:
    """A method that trains: tries its choices, retrains the best, reads the test split once.

    Args:
      method: from `adapter.METHODS`, or the caller's own.
      before: the names of the methods before it.

    Returns:
      To be called with the starting weights, its run directory, and the results of the methods
      before it.

    Raises:
      InputError: a field of the method's section has an invalid value.
    """
    site = site_of(task, config, "freeze" if config.head == "text" else "train")
    section = method.settle(config[name], dict.fromkeys(before, UNKNOWN))
    if section.tune not in RATES:
        raise InputError(f"{name}.tune is {section.tune!r}; it must be {' or '.join(RATES)}")
    adapter, identity = method.build(section, site), identity_of(name, method, section, site)
    check_rules(name, adapter, site.parameters)
    trainer = make_trainer(task, section.train, adapter, config.seed, f"{name}.train", identity)
    own = directory.of_methods(config, name)

    def begin(
        start: starting.Start, folder: Path, results: Results
    ) -> Generator[Training, loop.Fit, Result]:
        finished = directory.begin(folder, own)
        if finished is not None:
            return finished
        settled = method.settle(config[name], results)
        at = _Adapting(
            name, task, own, settled, method.build(settled, site), trainer, identity, start
        )
        choices: list[Choice] = []
        places = _places(settled)
        for value, place in places.items():
            choices.append((yield from _attempt(at, value, folder / place, draw)))
        best = best_choice(name, choices) if choices else settled.choices[0]
        done = yield from _train(at, best, "final", folder, name)
        fit = done.fit
        if fit.epoch == 0:
            raise InputError(
                f"{name}: the loss is not finite after {fit.steps} steps with {settled.tune} "
                f"{best:g}; give {name}.choices smaller values"
            )
        test = trainer.test(fit, done.frozen)
        with Records(folder, fit.steps) as records:
            records.write(fit.steps, fit.epoch, "test", **test)
        more = {
            **done.found.more,
            "choices": [choice._asdict() for choice in choices],
            "seconds_of_choices": sum(choice.seconds for choice in choices),
            **texts.told(test),
            "runs": list(places.values()),
        }
        found = done.found._replace(accuracy=test["accuracy"], more=more)
        return _finish(at, folder, done._replace(found=found), draw)

    places = [*_places(section).values(), ""]
    return Begin(begin, tuple(trainer.planned._replace(place=Path(place)) for place in places))


def _places(section: ConfigDict) -> dict[float, str]:
    """The run directory of each value to try: none of a single value, which needs no trial."""
    values = section.choices if len(section.choices) > 1 else ()
    return {value: f"choices/{section.tune}_{value!r}" for value in values}


def _attempt(
    at: _Adapting, value: float, folder: Path, draw: Draw
) -> Generator[Training, loop.Fit, Choice]:
    """Trains one choice, in its own run directory."""
    mine = at.config.copy_and_resolve_references()
    mine[at.name].choices = (value,)
    found = directory.begin(folder, mine)
    if found is None:
        done = yield from _train(at, value, "choice", folder, f"{at.name} {folder.name}")
        found = _finish(at, folder, done, draw)
    if found.more["diverged"]:
        return Choice(value, None, None, found.seconds)
    loss = found.more["validation_loss"]
    return Choice(value, found.validation_accuracy, loss, found.seconds)


def _train(
    at: _Adapting, value: float, which: str, folder: Path, title: str
) -> Generator[Training, loop.Fit, _Trained]:
    """Trains with one value of the tuned field; the test split is not read."""
    random = f"{at.name}/{which}"  # all choices share their randomness; the final run has its own
    key = named_key(at.config.seed, f"{random}/weights")
    variables = starting.starting_variables(at.task, at.start, key)
    key = named_key(at.config.seed, f"{random}/scores")
    learned, frozen = at.adapter.init(key, variables["params"])
    ready = Ready(learned, frozen, variables["batch_stats"])
    fit = yield at.trainer.job(ready, {at.section.tune: value}, random, folder, title)
    signals.obey()
    content = at.adapter.store(fit.learned, frozen)
    stored.check_law(
        at.name, at.identity, at.adapter, variables["params"], fit.learned, frozen, content
    )
    return _Trained(
        fit, frozen, variables["params"], content, _found(at, value, fit, frozen, content)
    )


def _found(
    at: _Adapting, value: float, fit: loop.Fit, frozen: dict[str, Any], content: Stored
) -> Result:
    """The result of a training, without test accuracy and storage."""
    masks, words = content.masks, axes(at.task, at.config)
    bits = tree.size(masks)
    return Result(
        recipe="adapt",
        method=at.name,
        dataset=at.task.dataset.name,
        seed=at.config.seed,
        accuracy=None,
        validation_accuracy=fit.validation.get("accuracy"),
        storage_bytes=0,
        steps=fit.steps,
        seconds=fit.seconds,
        network=at.config.network.name,
        density=float(measure.density(masks)),
        density_by_leaf=measure.density_by_leaf(masks, words),
        empty_leaves=tuple(measure.empty_leaves(masks, words)),
        mask_bits=bits,
        trained_numbers=trained_numbers(fit.learned, frozen),
        more={
            "validation_loss": fit.validation.get("loss"),
            at.section.tune: value,
            "train_examples": len(at.task.dataset.train.labels),
            "epoch": fit.epoch,
            "stopped_early": fit.stopped_early,
            "diverged": fit.diverged,
            "waited": fit.waited,
        },
    )


def trained_numbers(learned: dict[str, Any], frozen: dict[str, Any]) -> int:
    """The number of learned parameters; of the scores, of those that learn ("selected")."""
    selected = jax.tree.leaves(frozen.get("selected"))
    fixed = sum(leaf.size - int(leaf.sum()) for leaf in selected)
    return tree.size({**learned, "density": None}) - fixed


def _finish(at: _Adapting, folder: Path, done: _Trained, draw: Draw) -> Result:
    """Writes the task file, the figures and the result."""
    tuned = {at.section.tune: done.found.more[at.section.tune]}
    # statistics that are kept are those of the base network
    statistics = {} if at.section.train.statistics == "keep" else done.fit.batch_stats
    variables = {"params": done.params, "batch_stats": statistics}
    size = stored.write_task(
        folder, at.task, at.config, at.start, done.content, variables, done.found, tuned
    )
    found = done.found._replace(storage_bytes=size)
    draw(folder, found)
    return result.write(folder, found)


def site_of(task: Task, config: ConfigDict, head: str) -> Site:
    """The network, as a method's `build` takes it; `head` is the label of the head's weights."""
    name = config.network.name
    rules = tuple(rule for rule in model.rules(name) if not rule[0].startswith("head/"))
    parameters, words = shapes(task)["params"], axes(task, config)
    return Site(name, parameters, rules, model.stages(name), ("head/.*", head), words)


def check_rules(name: str, adapter: Adapter, parameters: Any) -> None:
    """Raises InputError before training if the rules do not fit the network."""
    try:
        jax.eval_shape(adapter.init, jax.random.key(0), parameters)
    except InputError as error:
        raise error.at(name) from None


def identity_of(name: str, method: Method, section: ConfigDict, site: Site) -> Hashable:
    """What the functions of a method's adapter depend on, except its arrays."""
    fields = json.loads(section.to_json())
    for field in ("train", "choices", *method.arrays):
        fields.pop(field, None)
    axes = tuple(sorted(site.axes.items()))
    return (name, method.build, json.dumps(fields), site.name, site.head, axes)
