"""A part of `self_mask`: what its networks do with few labels, beside learning on these alone.

Each fraction of the labels is drawn several times. On each draw, a linear probe is fitted to every
network that learned without labels, and the methods of `few_labels.methods` learn from the starting
network. Every network and draw is a run of `adapt`, in `labels/SHARE/drawD/NETWORK`.
"""

import os
from collections.abc import Callable, Generator, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from jaxmask import adapter, report
from jaxmask.model import checkpoint
from jaxmask.recipe import adapt
from jaxmask.run import directory, few_labels
from jaxmask.run.driver import Asked, Begin
from jaxmask.run.few_labels import Given
from jaxmask.run.plan import Planned, below
from jaxmask.run.task import Normalization

Trainings = Generator[Asked, Any, list[dict[str, Any]]]


class FewLabels(NamedTuple):
    """The runs, checked: (the run directory that has the networks) -> their trainings."""

    run: Callable[[Path], Trainings]
    planned: tuple[Planned, ...] = ()


def prepare(
    config: ConfigDict,
    networks: Sequence[str],
    normalization: Normalization,
    methods: adapt.Methods = adapter.METHODS,
) -> FewLabels:
    """Checks what can be checked before there are networks.

    A draw takes the same images for all networks and methods; of two shares, the larger one has the
    images of the smaller one. Images held out to choose by count as labeled. The runs return one
    row per share, network and method: mean and deviation over the draws. Without
    `few_labels.shares` there are none.

    Args:
      config: of `self_mask`.
      networks: the starting network, then those that learned: run directories below the run's.
      normalization: of the images of all of them.
      methods: those that train, by their names in `few_labels.methods`.

    Raises:
      InputError: a field of `few_labels` has an invalid value, or a share is of too few images.
    """
    few_labels.check(config)
    given = Given(config, networks, normalization)
    shares = few_labels.counted(given) if config.few_labels.shares else []
    draws = range(1, config.few_labels.draws + 1)
    planned: list[Planned] = []
    for counts in shares:
        begins: dict[tuple[str, ...], Begin] = {}  # draws have equally many images
        for draw, name in product(draws, networks):
            wanted = few_labels.methods_of(given, name)
            if wanted not in begins:
                made = few_labels.config_of(given, counts, draw, name, "random")
                begins[wanted] = few_labels.checked(
                    counts.share, partial(adapt.prepare, made, methods)
                )
            planned += below(_place(counts.share, draw, name), begins[wanted].planned)

    def run(folder: Path) -> Trainings:
        for counts, draw, name in product(shares, draws, networks):
            place, start = folder / _place(counts.share, draw, name), _start(given, folder, name)
            made = few_labels.config_of(given, counts, draw, name, start)
            if directory.result_of(place, made) is None:
                yield from adapt.prepare(made, methods)(place)
        labels = {counts.share: counts.labels for counts in shares}
        return report.few_labels.write(folder, networks, labels) if shares else []

    return FewLabels(run, tuple(planned))


def _place(share: float, draw: int, name: str) -> Path:
    return Path(report.few_labels.FOLDER, repr(float(share)), f"draw{draw}", name)


def _start(given: Given, folder: Path, name: str) -> str:
    """Where the weights are, from any working directory."""
    start = given.config.start
    if name != given.networks[0]:
        return str((folder / name).resolve())
    if start in ("pretrain", "random"):
        return str((folder / {"random": "start.safetensors"}.get(start, start)).resolve())
    return os.path.abspath(start) if checkpoint.is_path(start) else start
