"""A part of `self_mask`: what its networks do with few labels, beside learning on these alone.

Each fraction of the labels is drawn several times. On each draw, a linear probe is fitted to every
network that learned without labels, and the methods of `few_labels.methods` learn from the starting
network. Every network and draw is a run of `adapt`, in `labels/SHARE/drawD/NETWORK`.
"""

import os
from collections.abc import Callable, Generator, Sequence
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from jaxmask import adapter, report
from jaxmask.errors import InputError, check_numbers, nearest
from jaxmask.recipe import adapt
from jaxmask.report.few_labels import FOLDER
from jaxmask.run import defaults, directory
from jaxmask.run import task as tasks
from jaxmask.run.plan import Planned, below
from jaxmask.run.seeds import number
from jaxmask.run.trainer import Training
from jaxmask.train import feed, loop

PROBE = ("linear_probe",)  # what learned networks get
Trainings = Generator[Training, loop.Fit, list[dict[str, Any]]]


class FewLabels(NamedTuple):
    """The runs, checked: (the run directory that has the networks) -> their trainings."""

    run: Callable[[Path], Trainings]
    planned: tuple[Planned, ...] = ()


def prepare(
    config: ConfigDict,
    networks: Sequence[str],
    normalization: tasks.Normalization,
    methods: adapt.Methods = adapter.METHODS,
) -> FewLabels:
    """Checks what can be checked before there are networks.

    A draw takes the same images for all networks and methods; of different shares, the larger one
    has the images of the smaller one. Images held out to choose settings by count as labeled. The
    runs return one row per share, network and method: mean and deviation over the draws.

    Args:
      config: of `self_mask`.
      networks: the starting network, then those that learned: run directories below the run's.
      normalization: of the images of all of them.
      methods: those that train, by their names in `few_labels.methods`.

    Raises:
      InputError: a field of `few_labels` has an invalid value, or a share is of too few images.
    """
    section = config.few_labels
    if not section.shares:
        return FewLabels(_nothing)
    _check(config)
    given = _Given(config, networks, normalization)
    settings = {share: _counted(given, share) for share in section.shares}
    draws = range(1, section.draws + 1)
    planned: list[Planned] = []
    for share, counts in settings.items():
        # draws have equally many images, and so the same trainings
        begins = {}
        for name in networks:
            made = _adaptation(given, counts, 1, name, "random")
            if made.methods not in begins:
                begins[made.methods] = _checked(share, lambda: adapt.prepare(made, methods))  # noqa: B023
        for draw, name in product(draws, networks):
            begin = begins[_methods(given, name)]
            planned += below(_place(share, draw, name), begin.planned)

    def run(folder: Path) -> Trainings:
        for share, draw, name in product(settings, draws, networks):
            start = _start(given, folder, name)
            made = _adaptation(given, settings[share], draw, name, start)
            place = folder / _place(share, draw, name)
            if directory.result_of(place, made) is None:
                yield from adapt.prepare(made, methods)(place)
        labels = {share: counts.labels for share, counts in settings.items()}
        return report.few_labels.write(folder, networks, labels)

    return FewLabels(run, tuple(planned))


class _Given(NamedTuple):
    """As `prepare` takes it."""

    config: ConfigDict
    networks: Sequence[str]
    normalization: tasks.Normalization


class _Counts(NamedTuple):
    """Labels of a share: all, and those to train on; the others choose settings."""

    share: float
    labels: int
    train: int


def _nothing(folder: Path) -> Trainings:
    yield from ()
    return []


def _check(config: ConfigDict) -> None:
    section = config.few_labels
    check_numbers("few_labels.shares", section.shares, 0)
    for share in section.shares:
        if not 0 < share <= config.data.share:
            raise InputError(
                f"few_labels.shares has {share}; give fractions of the training labels above 0 and "
                f"at most data.share, {config.data.share:g}: of images that masks are learned from"
            )
    if len(set(section.shares)) < len(section.shares):
        raise InputError(f"few_labels.shares has a value twice: {tuple(section.shares)}")
    for name in section.methods:
        if not isinstance(name, str) or not isinstance(section.get(name), ConfigDict):
            known = [each for each, value in section.items() if isinstance(value, ConfigDict)]
            raise InputError(
                f"few_labels.methods has {name!r}, which has no section in few_labels"
                f"{nearest(str(name), known)}"
            )
    check_numbers("few_labels.draws", [section.draws], 1, 10**4)
    check_numbers("few_labels.steps", [section.steps], 1)


def _counted(given: _Given, share: float) -> _Counts:
    """The labels of a share, the same numbers in every draw.

    Raises:
      InputError: the share is of too few images to learn every class and to choose by.
    """
    made = _section(given, share, 1)
    found = _checked(share, lambda: tasks.load_data(made.data, made.seed))
    made.data.share, made.data.validation = 1.0, 0.0
    total = len(tasks.load_data(made.data, made.seed).train.labels)
    train, held_out = len(found.train.labels), len(found.validation.labels)
    if train + held_out > round(share * total) or not held_out:
        raise InputError(
            f"few_labels.shares has {share:g}, {round(share * total)} of {total} images of "
            f"{len(found.classes)} classes: too few for one of each class to learn from and one "
            "more to choose by; give larger shares (few_labels.validation is "
            f"{given.config.few_labels.validation:g})"
        )
    return _Counts(share, train + held_out, train)


def _checked(share: float, prepared: Callable[[], Any]) -> Any:
    try:
        return prepared()
    except InputError as error:
        raise error.at(f"few_labels, on {share:g} of the labels") from None


def _section(given: _Given, share: float, draw: int) -> ConfigDict:
    """A config of `adapt` on one draw, with the data alone."""
    config = given.config
    made = defaults.adapt(config.data.name, 1)
    made.seed = number(config.seed, f"few_labels/draw{draw}")
    made.compilation_cache = config.compilation_cache
    made.network = config.network.copy_and_resolve_references()
    made.data = config.data.copy_and_resolve_references()
    made.data.share, made.data.validation = float(share), float(config.few_labels.validation)
    made.data.mean, made.data.std = given.normalization
    return made


def _adaptation(given: _Given, counts: _Counts, draw: int, name: str, start: str) -> ConfigDict:
    """The config of the run of `adapt` on one draw, from one network."""
    made, section = _section(given, counts.share, draw), given.config.few_labels
    made.start, made.methods = start, _methods(given, name)
    devices = feed.make_mesh().size
    for method in {*made.methods, *PROBE} & set(section):
        made[method] = own = ConfigDict(section[method].to_dict())
        if "train" in own:
            batch = min(own.train.batch_size, max(counts.train // devices, 1) * devices)
            own.train.batch_size = batch
            own.train.epochs = max(1, round(section.steps / max(counts.train // batch, 1)))
    return made


def _methods(given: _Given, name: str) -> tuple[str, ...]:
    return tuple(given.config.few_labels.methods) if name == given.networks[0] else PROBE


def _place(share: float, draw: int, name: str) -> Path:
    return Path(FOLDER, repr(float(share)), f"draw{draw}", name)


def _start(given: _Given, folder: Path, name: str) -> str:
    """Where the weights are, from any working directory."""
    start = given.config.start
    if name != given.networks[0]:
        return str((folder / name).resolve())
    if start in ("pretrain", "random"):
        return str((folder / {"random": "start.safetensors"}.get(start, start)).resolve())
    return start if start.startswith("hub:") else os.path.abspath(start)
