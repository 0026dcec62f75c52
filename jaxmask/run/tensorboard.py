"""What TensorBoard shows of pruning: density, weights before and after training, fields, levels."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from jaxmask import tree
from jaxmask.run.directory import to_json
from jaxmask.run.result import Result
from jaxmask.train.board import Board

NO_FIELDS = ("grid", "together")  # of a sweep, not of a run
DENSITIES = ("density", "effective_density")
METRICS = ("test/accuracy", "ticket/density")


def ticket(board: Board, step: int, before: Any, after: Any, masks: Any, found: Result) -> None:
    """The densities of a trained ticket, and its kept weights before and after training.

    Args:
      before, after: trees of weights, those of `masks` among them.
      found: its result, before the test.
    """
    _densities(board, step, found)
    for group, weights in (("initial_weights", before), ("weights", after)):
        leaves = tree.named_leaves(weights)
        kept = {
            path: np.asarray(leaves[path])[np.asarray(bits)]
            for path, bits in tree.named_leaves(masks).items()
        }
        board.histograms(group, kept, step)


def levels(folder: Path, config: ConfigDict, results: Sequence[Result]) -> None:
    """Of a lottery: each level's density, accuracy and steps, with the level in place of a step;
    the fields of the config."""
    with Board(folder) as board:
        for level, found in enumerate(results):
            _densities(board, level, found)
            for name, value in (
                ("test/accuracy", found.accuracy),
                ("ticket/chosen_step", found.more.get("chosen_step")),
                ("seconds/level", found.seconds),
            ):
                if value is not None:
                    board.scalar(name, value, level)
        board.hyperparameters(dict(_fields(to_json(config))), METRICS)


def hyperparameters(folder: Path, config: ConfigDict, step: int) -> None:
    """The fields of the config, beside the test accuracy; what is recorded up to `step` stays."""
    with Board(folder, step + 1) as board:
        board.hyperparameters(dict(_fields(to_json(config))), METRICS)


def _densities(board: Board, step: int, found: Result) -> None:
    values = {"density": found.density, **found.more}
    for name in DENSITIES:
        if values.get(name) is not None:
            board.scalar(f"ticket/{name}", values[name], step)


def _fields(config: Mapping[str, Any], at: str = "") -> Iterator[tuple[str, Any]]:
    """Every field by its dotted name; lists as JSON."""
    for name, value in config.items():
        if isinstance(value, dict):
            yield from _fields(value, f"{at}{name}.")
        elif at or name not in NO_FIELDS:
            yield f"{at}{name}", json.dumps(value) if isinstance(value, list) else value
