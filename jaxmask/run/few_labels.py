"""The configs of runs of `adapt` on few labels: which labels, and how long what learns on them."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

from ml_collections import ConfigDict

from jaxmask.data import Dataset
from jaxmask.errors import InputError, check_numbers, nearest
from jaxmask.run import defaults
from jaxmask.run import task as tasks
from jaxmask.run.seeds import number
from jaxmask.train import feed

PROBE = ("linear_probe",)  # what networks get that have learned without labels
MOST_DRAWS = 10**4
Made = TypeVar("Made")


class Given(NamedTuple):
    """What all draws have in common.

    Attributes:
      config: of `self_mask`, checked by `check`.
      networks: the starting network, then those that learned.
      normalization: of the images of all networks.
    """

    config: ConfigDict
    networks: Sequence[str]
    normalization: tasks.Normalization


class Counts(NamedTuple):
    """How many labels a share is: all, and those to train on; settings are chosen by the others."""

    share: float
    labels: int
    train: int


def check(config: ConfigDict) -> None:
    """Raises InputError if a field of `few_labels` has a value that it cannot have."""
    section = config.few_labels
    check_numbers("few_labels.shares", section.shares, 0)
    for share in section.shares:
        if not 0 < share <= 1:
            raise InputError(
                f"few_labels.shares has {share}; give fractions of the training labels above 0 and "
                "at most 1"
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
    check_numbers("few_labels.draws", [section.draws], 1, MOST_DRAWS)
    check_numbers("few_labels.steps", [section.steps], 1)


def counted(given: Given) -> list[Counts]:
    """The labels of each share, the same numbers in every draw.

    Raises:
      InputError: a share is of too few images to learn every class and to choose by.
    """
    made = _of_draw(given, 1.0, 1)
    made.data.validation = 0.0
    whole = tasks.load_data(made.data, made.seed)
    return [_counted(given, share, whole) for share in given.config.few_labels.shares]


def _counted(given: Given, share: float, whole: Dataset) -> Counts:
    made, total = _of_draw(given, share, 1), len(whole.train.labels)
    wanted, classes = round(share * total), len(whole.classes)
    too_few = InputError(
        f"few_labels.shares has {share:g}, {wanted} of {total} images of {classes} classes: too "
        "few for one of each class to learn from and one more to choose by; give larger shares "
        f"(few_labels.validation is {given.config.few_labels.validation:g})"
    )
    if wanted <= classes:
        raise too_few
    found = checked(share, lambda: tasks.load_data(made.data, made.seed))
    train, held_out = len(found.train.labels), len(found.validation.labels)
    if not held_out or train + held_out > wanted:  # more, for one of each class
        raise too_few
    return Counts(share, train + held_out, train)


def checked(share: float, make: Callable[[], Made]) -> Made:
    """What `make` returns; its InputError with the share before it."""
    try:
        return make()
    except InputError as error:
        raise error.at(f"few_labels, on {share:g} of the labels") from None


def draw_seed(seed: int, draw: int) -> int:
    """The seed of all runs on one draw of the labels, of a run with `seed`."""
    return number(seed, f"few_labels/draw{draw}")


def methods_of(given: Given, network: str) -> tuple[str, ...]:
    """What learns on few labels from a network."""
    starting = network == given.networks[0]
    return tuple(given.config.few_labels.methods) if starting else PROBE


def config_of(given: Given, counts: Counts, draw: int, network: str, start: str) -> ConfigDict:
    """The config of the run of `adapt` on one draw, from one network with its weights at `start`.

    A batch has at most as many images as there are, a multiple of the devices.
    """
    made, section = _of_draw(given, counts.share, draw), given.config.few_labels
    made.start, made.methods = start, methods_of(given, network)
    devices = feed.make_mesh(given.config.network.devices).shape["data"]
    for method in made.methods:
        made[method] = own = ConfigDict(section[method].to_dict())
        if "train" in own:
            batch = min(own.train.batch_size, max(counts.train // devices, 1) * devices)
            own.train.batch_size = batch
            steps_per_epoch = max(counts.train // max(batch, 1), 1)
            own.train.epochs = max(1, round(section.steps / steps_per_epoch))
    return made


def _of_draw(given: Given, share: float, draw: int) -> ConfigDict:
    """A config of `adapt` with the labels of a draw."""
    config = given.config
    made = defaults.adapt(config.data.name, 1)
    made.seed = draw_seed(config.seed, draw)
    made.compilation_cache = config.compilation_cache
    made.network = config.network.copy_and_resolve_references()
    made.data = config.data.copy_and_resolve_references()
    made.data.share, made.data.validation = float(share), float(config.few_labels.validation)
    made.data.mean, made.data.std = given.normalization
    return made
