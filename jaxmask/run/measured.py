"""Embeddings of a network, measured by k-NN and by a linear probe on all labels."""

import functools
import json
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict
from safetensors.numpy import save as to_safetensors

from jaxmask import adapter, files, tree
from jaxmask.mask import measure
from jaxmask.run import evaluator, starting
from jaxmask.run.result import EMBEDDINGS, Result
from jaxmask.run.seeds import named_key
from jaxmask.run.task import Task, axes
from jaxmask.run.trainer import Training
from jaxmask.train import loop

CLASSIFIERS = ("knn", "linear_probe")
MOST = 2000  # embeddings of test images that are kept
Draw = Callable[[Path, Result], None]
Trainings = Generator[Training, loop.Fit, Result]
Measure = Callable[[starting.Start, Path], Generator[Any, Any, dict[str, Result]]]


def classifiers(task: Task, config: ConfigDict, draw: Draw) -> Measure:
    """(network, folder) -> the results of both classifiers, each in a folder below the given one.

    The features of each split are computed once for both.

    Raises:
      InputError: a field of a classifier's section is invalid, or the network gives no features.
    """
    made = {
        name: evaluator.fitted(name, adapter.EVALUATORS[name], task, config, draw)
        for name in CLASSIFIERS
    }
    features = evaluator.feature_function(task, "embeddings")

    def run(start: starting.Start, folder: Path) -> Generator[Any, Any, dict[str, Result]]:
        key = named_key(config.seed, "embeddings/weights")  # of a head that is not used
        variables = starting.starting_variables(task, start, key)
        extracted = functools.cache(
            evaluator.extractor(task, features, variables, f"the network of {folder.name}")
        )
        found: dict[str, Result] = {}
        for name, begin in made.items():
            found[name] = yield from begin(start, folder / name, found, extracted)
        save_embeddings(folder, *extracted("test"), task)
        return found

    return run


def save_embeddings(
    folder: Path, features: Any, labels: Any, task: Task, clusters: Any = None
) -> None:
    """Writes embeddings of up to `MOST` test images, evenly spaced, for pictures of them.

    Args:
      features: [N, F] of the test split.
      labels: [N]; `clusters`: [N], by a router.
    """
    places = np.linspace(0, len(labels) - 1, min(MOST, len(labels))).round().astype(int)
    arrays = {
        "features": np.asarray(features, np.float32)[places],
        "labels": np.asarray(labels, np.int32)[places],
    }
    if clusters is not None:
        arrays["clusters"] = np.asarray(clusters, np.int32)[places]
    about = {"classes": json.dumps(list(task.dataset.classes))}
    files.replace(folder / EMBEDDINGS, to_safetensors(arrays, about))


def of(
    name: str, task: Task, config: ConfigDict, found: Mapping[str, Result], **more: Any
) -> Result:
    """A result with the accuracies of both classifiers; `accuracy` is the probe's.

    Args:
      more: fields of the result in place of those of a network that was not trained, and others.
    """
    probe, knn = found["linear_probe"], found["knn"]
    fields: dict[str, Any] = {
        "storage_bytes": 0, "steps": 0, "seconds": 0.0,
        **{field: more.pop(field) for field in Result._fields if field in more},
    }  # fmt: skip
    return Result(
        recipe=config.recipe,
        method=name,
        dataset=task.dataset.name,
        seed=config.seed,
        accuracy=probe.accuracy,
        validation_accuracy=probe.validation_accuracy,
        network=config.network.name,
        **fields,
        more={
            "knn_accuracy": knn.accuracy,
            "knn_validation_accuracy": knn.validation_accuracy,
            "runs": list(CLASSIFIERS),
            "seconds_of_choices": 0.0,
            **more,
        },
    )


def masks(found: Any, task: Task, config: ConfigDict) -> dict[str, Any]:
    """The fields of a result that describe masks."""
    words = axes(task, config)
    return {
        "density": float(measure.density(found)),
        "density_by_leaf": measure.density_by_leaf(found, words),
        "empty_leaves": tuple(measure.empty_leaves(found, words)),
        "mask_bits": tree.size(found),
    }
