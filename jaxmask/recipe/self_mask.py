"""Learn masks without labels (self-masking networks), and measure the features they make.

Warmerdam, Caron, Asano, Self-masking networks for unsupervised adaptation, 2024,
https://arxiv.org/abs/2409.07577.
"""

from pathlib import Path

from ml_collections import ConfigDict

from jaxmask import adapter
from jaxmask.errors import InputError, check_numbers, nearest
from jaxmask.recipe import adapt, few_labels
from jaxmask.run import directory, result, self_supervised, starting
from jaxmask.run import task as tasks
from jaxmask.run.driver import Begin, Experiment
from jaxmask.run.plan import Planned, below
from jaxmask.run.result import Result
from jaxmask.run.self_supervised import UNTOUCHED, planned_below


def prepare(config: ConfigDict, methods: adapt.Methods = adapter.METHODS) -> Begin:
    """Checks what can be checked; returns a function that runs in a run directory.

    The starting network is measured as it is; then each method learns from the training images
    without their labels, and is measured: by k-NN and by a linear probe on all labels, whose
    settings are chosen on the held-out images. Each has a run directory of its own, with the
    adapted network in `weights.safetensors`, from which other experiments can start. With
    `few_labels.shares`, all networks are then measured with few labels; see `few_labels`.

    Args:
      methods: those that train, by their names in `config.methods`.

    Raises:
      InputError: the config is invalid (or, during the run, embeddings collapse).
    """
    _check(config, methods)
    task, start, pretraining = set_up(config)
    begins = {
        UNTOUCHED: self_supervised.untouched(task, config, adapt.draw),
        **{
            name: self_supervised.trained(
                name, methods[name], config.methods[:index], task, config, adapt.draw
            )
            for index, name in enumerate(config.methods)
        },
    }
    labels = few_labels.prepare(config, list(begins), task.normalization, methods)

    def run(folder: Path, shared: Path | None = None) -> Experiment:
        finished = directory.begin(folder, config)
        if finished is not None:
            return finished
        before = None
        if pretraining is not None:
            before = yield from pretraining(folder / "pretrain", None)
        begun = begun_from(folder, config, start, task)
        results: dict[str, Result] = {}
        for name, begin in begins.items():
            results[name] = yield from begin.run(begun, folder / name, results)
        adapt.write_comparison(folder, list(results), UNTOUCHED)
        found = adapt.compared(results, before)
        if few := (yield from labels.run(folder)):
            found = found._replace(more={**found.more, "few_labels": few})
        return result.write(folder, found)

    return Begin(run, (*planned_before(pretraining), *planned_below(begins), *labels.planned))


def set_up(config: ConfigDict) -> tuple[tasks.Task, starting.Start, Begin | None]:
    """The task, the starting weights if they are given, and the pretraining if it is wanted.

    Raises:
      InputError: data, network or weights are not available or do not fit each other, or nothing
        is held out to measure on.
    """
    pretrain = config.start == "pretrain"
    start, about = starting.load_start(
        "random" if pretrain else config.start, config.network, starting.pixels(config.data)
    )
    dataset = tasks.load_data(config.data, config.seed)
    if len(dataset.validation.labels) == 0:
        raise tasks.none_held_out(f"{config.recipe} measures on validation data", dataset)
    pretraining, normalization = adapt.pretraining(config) if pretrain else (None, None)
    if normalization is None:
        normalization = tasks.normalization_of(config.data, dataset, about)
    task = tasks.make_task(config.data, config.network, dataset, normalization)
    start = starting.for_images(start, task)
    starting.check_fits(task, start)
    return task, start, pretraining


def begun_from(
    folder: Path, config: ConfigDict, start: starting.Start, task: tasks.Task
) -> starting.Start:
    """As `adapt.begun_from`; a probe's head goes into each task, whatever head the start has."""
    begun = adapt.begun_from(folder, config, start, task)
    return begun._replace(head=False, head_in_base=False)


def planned_before(pretraining: Begin | None) -> tuple[Planned, ...]:
    """The trainings of the pretraining, if there is one."""
    return () if pretraining is None else below("pretrain", pretraining.planned)


def _check(config: ConfigDict, methods: adapt.Methods) -> None:
    for name in config.methods:
        if not isinstance(name, str) or name not in methods or name not in config:
            raise InputError(f"unknown method {name!r}{nearest(str(name), methods)}")
        if not config[name].choices:
            raise InputError(f"{name}.choices is empty; give at least one value")
        check_numbers(f"{name}.choices", config[name].choices, 0)
    if len(set(config.methods)) < len(config.methods) or not config.methods:
        raise InputError(f"config.methods is {tuple(config.methods)}; name methods, each once")
