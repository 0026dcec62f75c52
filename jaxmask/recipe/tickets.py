"""Tickets of several tasks in one pretrained network, and what each is worth on the others.

Chen, Frankle, Chang, Liu, Zhang, Wang, Carbin, The lottery ticket hypothesis for pre-trained BERT
networks, 2020, https://arxiv.org/abs/2007.12223.
"""

from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from jaxmask.errors import InputError
from jaxmask.recipe import lottery, prune
from jaxmask.report import transfer as matrix
from jaxmask.run import directory, result, ticket, transfer
from jaxmask.run.driver import Begin, Experiment
from jaxmask.run.plan import Planned, below
from jaxmask.run.result import Result
from jaxmask.run.transfer import DENSE, FOUND, INITIAL, LOTTERIES, MASKS, TICKET, Row

Run = Generator[Any, Any, Result]


def prepare(config: ConfigDict) -> Begin:
    """Checks what can be checked; returns a function that runs in a run directory.

    The tasks of `config.tasks` have one body, with the weights of `config.start`, and a new head
    each, which is trained and never pruned. All have the same density and training settings.

    1. A lottery on each task, in `lotteries/TASK`: its last ticket. Each round is rewound to the
       starting weights.
    2. Masks of the starting weights by the criteria `config.one_shot`: on each task for criteria
       of data (SNIP), once for others (random, magnitude). All masks are in `masks/NAME.mask`.
    3. Each mask is trained on each task by the recipe `prune` with `mask_from`, in `TASK/NAME`. A
       ticket on its own task is the last level of its lottery, and the whole network the first.

    The masks alone make the matrix again: with `config.mask_from`, an earlier run or a folder of
    mask files, no lottery is held, and its masks are trained on the tasks of this config, which
    may be others.

    `transfer.md`, `transfer.csv` and `figures/transfer.png` show the accuracy of each mask on each
    task; `overlap.csv` how much the masks share, layer by layer, beside chance.

    Raises:
      InputError: the config is invalid.
    """
    transfer.check(config)
    tasks = transfer.tasks_of(config)
    stored = transfer.stored_rows(config, tasks) if config.mask_from else None
    rows = transfer.rows_of(config, tasks) if stored is None else list(stored)
    planned = tuple(_planned(config, tasks, rows, stored))

    def run(folder: Path, shared: Path | None = None) -> Experiment:
        finished = directory.begin(folder, config)
        if finished is not None:
            return finished
        initial = shared or folder / INITIAL
        found = stored
        if found is None:
            found = yield from _found(config, tasks, rows, folder, initial)
        masks = {row: transfer.keep_mask(path, row, folder) for row, path in found.items()}
        cells = []
        for task in tasks:
            for row in (Row(DENSE, DENSE, ""), *rows):
                place = _place(config, row, task)
                if place.parts[0] != LOTTERIES:
                    own = transfer.cell_config(config, task, masks.get(row))
                    yield from _run(prune.prepare, own, folder / place, initial)
                cells.append(_cell(row, task, place, result.read(folder / place)))
        matrix.write(folder, cells, {row.name: path for row, path in masks.items()})
        return result.write(folder, _whole(config, tasks, cells, folder))

    return Begin(run, planned)


def _place(config: ConfigDict, row: Row, task: str) -> Path:
    """The run directory of a cell, below that of the whole."""
    own = row.name == DENSE or (row.found_by == TICKET and row.source == task)
    if config.mask_from or not own:
        return Path(task, row.name)
    level = 0 if row.name == DENSE else config.rounds
    return Path(LOTTERIES, task, f"level_{level:02d}")


def _planned(
    config: ConfigDict,
    tasks: Sequence[str],
    rows: Sequence[Row],
    stored: Mapping[Row, Path] | None,
) -> Generator[Planned]:
    """What each training costs; checks the configs of all."""
    alike: dict[str, Planned] = {}  # a training of each task
    for task in tasks:
        if stored is None:
            found = _of_task(task, lottery.prepare, transfer.config_of(config, task, "lottery"))
            yield from below(Path(LOTTERIES, task), found)
        else:
            found = _of_task(task, prune.prepare, transfer.cell_config(config, task, None))
            for path in stored.values():
                _of_task(task, prune.prepare, transfer.cell_config(config, task, path))
        alike[task] = found[0]
    if stored is None:
        for row in rows:
            if row.found_by != TICKET:
                prune.prepare(_finding(config, row, tasks))
    for task in tasks:
        for row in (Row(DENSE, DENSE, ""), *rows):
            place = _place(config, row, task)
            if place.parts[0] != LOTTERIES:
                yield alike[task]._replace(place=place)


def _of_task(task: str, prepare: Any, own: ConfigDict) -> tuple[Planned, ...]:
    """What a run on a task is planned to train; errors name the task."""
    try:
        return prepare(own).planned
    except InputError as error:
        raise error.at(f"tasks.{task}") from None


def _finding(config: ConfigDict, row: Row, tasks: Sequence[str]) -> ConfigDict:
    """The config of the run that finds a mask of the starting weights."""
    own = transfer.config_of(config, row.source or tasks[0])
    own.criterion, own.train.epochs = row.found_by, 0
    return own


def _found(
    config: ConfigDict, tasks: Sequence[str], rows: Sequence[Row], folder: Path, initial: Path
) -> Generator[Any, Any, dict[Row, Path]]:
    """Finds all masks; returns their files."""
    masks: dict[Row, Path] = {}
    for row in rows:
        if row.found_by == TICKET:
            place = folder / LOTTERIES / row.source
            own = transfer.config_of(config, row.source, "lottery")
            yield from _run(lottery.prepare, own, place, initial)
        else:
            place = folder / FOUND / row.name
            yield from _run(prune.prepare, _finding(config, row, tasks), place, initial)
        masks[row] = place / ticket.MASK
    return masks


def _run(prepare: Any, own: ConfigDict, place: Path, initial: Path) -> Run:
    """A run of its own, unless it is finished."""
    finished = directory.result_of(place, own)
    if finished is not None:
        return finished
    return (yield from prepare(own)(place, initial))


def _cell(row: Row, task: str, place: Path, found: Result) -> dict[str, Any]:
    return {
        "mask": row.name,
        "found_by": row.found_by,
        "source": row.source,
        "target": task,
        "target_density": found.more["target_density"],
        "density": found.density,
        "accuracy": found.accuracy,
        "validation_accuracy": found.validation_accuracy,
        "loss": found.more["loss"],
        "initial_sha256": found.more["initial"]["sha256"],
        "run": str(place),
    }


def _whole(
    config: ConfigDict, tasks: Sequence[str], cells: Sequence[Mapping[str, Any]], folder: Path
) -> Result:
    results = [result.read(folder / cell["run"]) for cell in cells]
    lotteries = [result.read(folder / LOTTERIES / task) for task in tasks
                 if not config.mask_from]  # fmt: skip
    trained = [each for each, cell in zip(results, cells)
               if not cell["run"].startswith(f"{LOTTERIES}/")]  # fmt: skip
    pruned = [each for each, cell in zip(results, cells) if cell["mask"] != DENSE]
    return Result(
        recipe=config.recipe,
        method=config.criterion,
        dataset=", ".join(tasks),
        seed=config.seed,
        accuracy=None,
        validation_accuracy=None,
        storage_bytes=sum(path.stat().st_size for path in (folder / MASKS).glob("*.mask")),
        steps=sum(each.steps for each in (*trained, *lotteries)),
        seconds=sum(each.seconds for each in (*trained, *lotteries)),
        network=config.network.name,
        density=pruned[0].density,
        mask_bits=pruned[0].mask_bits,
        more={
            "tasks": list(tasks),
            "target_density": pruned[0].more["target_density"],
            "rounds": config.rounds,
            "head": config.head,
            "cells": list(cells),
        },
    )
