"""A method of a comparison that fits a classifier to the features of the unchanged network."""

import io
import time
from collections.abc import Callable, Generator
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from jaxmask import evaluate, files, model, signals
from jaxmask.adapter import Evaluator
from jaxmask.adapter.base import Classifier
from jaxmask.errors import InputError
from jaxmask.loss import cross_entropy
from jaxmask.run import directory, result, starting, stored, texts
from jaxmask.run.driver import Begin
from jaxmask.run.method import Draw, Results
from jaxmask.run.programs import shared
from jaxmask.run.result import Result
from jaxmask.run.seeds import named_key
from jaxmask.run.task import Task
from jaxmask.run.trainer import Training
from jaxmask.run.tuning import Choice, best_choice
from jaxmask.train import loop
from jaxmask.train.records import Records

Examples = tuple[jax.Array, jax.Array]  # features [N, F], labels [N]
Extract = Callable[[str], Examples]  # of a split, by name


def fitted(name: str, evaluator: Evaluator, task: Task, config: ConfigDict, draw: Draw) -> Begin:
    """Tries an evaluator's choices on validation data, then reads the test split once.

    Raises:
      InputError: a field of its section has an invalid value, or the network gives no
        features; or, during the run, features that are not finite.
    """
    evaluator.check(config[name])
    texts.check_classifies(task.module, name)
    features = feature_function(task, name)
    own = directory.of_methods(config, name)

    def begin(
        start: starting.Start, folder: Path, results: Results, extracted: Extract | None = None
    ) -> Generator[Training, loop.Fit, Result]:
        finished = directory.begin(folder, own)
        if finished is not None:
            return finished
        yield from ()  # it trains nothing
        if extracted is None:
            key = named_key(config.seed, f"{name}/weights")
            variables = starting.starting_variables(task, start, key)
            extracted = extractor(task, features, variables, f"{name}: the starting network")
        classifier, found = fit(name, evaluator, task, config, extracted, folder)
        return _finish(task, own, start, folder, classifier, found, evaluator.field, draw)

    return Begin(begin, ())


def feature_function(task: Task, name: str) -> Callable[..., jax.Array]:
    """(variables, uint8 images) -> features; compiled once for all networks of a task.

    Args:
      name: for errors.

    Raises:
      InputError: the network gives none.
    """
    augment, module = task.augment, task.module  # not the task, whose images would stay
    try:
        return shared(
            "features",
            task.identity,
            lambda: model.feature_function(module, lambda x: augment(None, x)),
        )
    except InputError as error:
        raise error.at(name) from None


def extractor(
    task: Task, features: Callable[..., jax.Array], variables: Any, network: str
) -> Extract:
    """The features of a network, split by split.

    Args:
      features: of `feature_function`.
      network: its name for errors, which features that are not finite raise.
    """

    def extracted(split: str) -> Examples:
        images, labels = getattr(task.dataset, split)
        found = evaluate.extract(lambda images: features(variables, images), images)
        _check_finite(network, split, found)
        return jnp.asarray(found), jnp.asarray(labels)

    return extracted


def fit(
    name: str,
    evaluator: Evaluator,
    task: Task,
    config: ConfigDict,
    extracted: Extract,
    folder: Path,
) -> tuple[Classifier, Result]:
    """Tries an evaluator's choices on validation data, then reads the test split once.

    Returns:
      The classifier, and its result without `storage_bytes`. Records go to the folder, and the
      classes of the test images to its `predicted.npy`.
    """
    section, began = config[name], time.monotonic()
    splits = extracted("train"), extracted("validation")
    for_features = time.monotonic() - began
    with Records(folder) as records:

        def record(classifier: Classifier, choice: Choice) -> None:
            records.write(
                classifier.about["steps"], 0, "validation",
                **{evaluator.field: choice.value, "loss": choice.validation_loss,
                   "accuracy": choice.validation_accuracy},
            )  # fmt: skip

        classes = len(task.dataset.classes)
        classifier, chosen, choices = choose(name, evaluator, section, classes, *splits, record)
        features, labels = extracted("test")
        logits = classifier.logits(features)
        test = _measured(logits, labels)
        _save_predicted(folder, logits, labels)
        records.write(classifier.about["steps"], 0, "test", **test)
    found = _found(name, task, config, evaluator.field, classifier, choices, chosen, test)
    return classifier, found._replace(seconds=for_features + chosen.seconds)


def choose(
    name: str,
    evaluator: Evaluator,
    section: ConfigDict,
    classes: int,
    train: Examples,
    validation: Examples,
    tried: Callable[[Classifier, Choice], None] = lambda classifier, choice: None,
) -> tuple[Classifier, Choice, list[Choice]]:
    """Tries an evaluator's choices on validation data.

    Returns:
      The best classifier, its choice, and all choices; none if there is only one value.
    """
    attempt = partial(_attempt, evaluator, section, classes, train, validation)
    choices: list[Choice] = []
    for value in section.choices if len(section.choices) > 1 else ():
        classifier, choice = attempt(value)
        choices.append(choice)
        tried(classifier, choice)
    best = best_choice(name, choices) if choices else section.choices[0]
    return *attempt(best), choices


def _check_finite(network: str, split: str, features: np.ndarray) -> None:
    """Raises InputError if there is no distance or product to measure between features."""
    if wrong := len(features) - int(np.isfinite(features).all(-1).sum()):
        raise InputError(
            f"{network} gives features that are not finite, of {wrong} of the {len(features)} "
            f"images of the split {split!r}; use another start or compute_dtype"
        )


def _save_predicted(folder: Path, logits: jax.Array, labels: jax.Array) -> None:
    """Writes int32 [2, N]: the predicted classes, and the labels."""
    content = io.BytesIO()
    np.save(content, np.stack([logits.argmax(-1), labels]).astype(np.int32))
    files.replace(folder / result.PREDICTED, content.getvalue())


def _attempt(
    evaluator: Evaluator,
    section: ConfigDict,
    classes: int,
    train: Examples,
    validation: Examples,
    value: float,
) -> tuple[Classifier, Choice]:
    """Fits with one value, and measures on validation data."""
    signals.obey()
    began = time.monotonic()
    classifier = evaluator.fit(*train, value, classes, section)
    features, labels = validation
    measured = _measured(classifier.logits(features), labels)
    seconds = time.monotonic() - began
    return classifier, Choice(value, measured["accuracy"], measured["loss"], seconds)


def _found(
    name: str,
    task: Task,
    config: ConfigDict,
    field: str,
    classifier: Classifier,
    choices: list[Choice],
    chosen: Choice,
    test: dict[str, float],
) -> Result:
    """The result, but for the seconds and the bytes of the file."""
    about = {key: value for key, value in classifier.about.items() if key != "steps"}
    return Result(
        recipe="adapt",
        method=name,
        dataset=task.dataset.name,
        seed=config.seed,
        accuracy=test["accuracy"],
        validation_accuracy=chosen.validation_accuracy,
        storage_bytes=0,
        steps=classifier.about["steps"],
        seconds=0.0,
        network=config.network.name,
        trained_numbers=classifier.numbers,
        more={
            "validation_loss": chosen.validation_loss,
            field: chosen.value,
            "train_examples": len(task.dataset.train.labels),
            **about,
            "choices": [choice._asdict() for choice in choices],
            "seconds_of_choices": sum(choice.seconds for choice in choices),
        },
    )


def _finish(
    task: Task,
    config: ConfigDict,
    start: starting.Start,
    folder: Path,
    classifier: Classifier,
    found: Result,
    field: str,
    draw: Draw,
) -> Result:
    """Writes the task file, the figures and the result."""
    content = classifier.stored
    head = content.arrays.get("params", {})
    # the body is unchanged, so its statistics are those of the base network
    nothing: dict[str, Any] = {"params": head, "batch_stats": {}}
    tuned = {field: found.more[field]}
    size = stored.write_task(folder, task, config, start, content, nothing, found, tuned)
    found = found._replace(storage_bytes=size)
    draw(folder, found)
    return result.write(folder, found)


def _measured(logits: jax.Array, labels: jax.Array) -> dict[str, float]:
    return {
        "loss": float(cross_entropy(logits, labels).mean()),
        "accuracy": float((logits.argmax(-1) == labels).mean()),
    }
