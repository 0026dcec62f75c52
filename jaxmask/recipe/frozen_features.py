"""The methods of `adapt` that leave the network as it is: k-NN and a linear probe."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from jaxmask import evaluate
from jaxmask.data import Split
from jaxmask.loss import cross_entropy
from jaxmask.recipe import run_directory, setup, starting, task_file
from jaxmask.recipe.trained import Method
from jaxmask.recipe.tuning import Choice, best_choice
from jaxmask.train.records import Records


class Classifier(NamedTuple):
    """A classifier of features.

    Attributes:
      logits: features [N, F] -> [N, C].
      arrays: what a task file has to hold for it.
      numbers: how many were fitted.
      about: more for the result.
    """

    logits: Callable[[jax.Array], jax.Array]
    arrays: dict[str, Any]
    numbers: int
    about: dict[str, Any]


def linear_probe(task: setup.Task, config: ConfigDict, seed: int) -> Method:
    """Logistic regression on the network's features, its regularization chosen on validation."""
    section, classes = config.linear_probe, len(task.dataset.classes)
    setup.check_numbers("linear_probe.iterations", [section.iterations], 1)

    def fit(features: jax.Array, labels: jax.Array, value: float) -> Classifier:
        probe = evaluate.linear_probe(
            features, labels, value, classes=classes, iterations=section.iterations
        )
        steps = int(probe.iterations)
        return Classifier(
            lambda features: features @ probe.kernel + probe.bias,
            {"params": {"head": {"kernel": probe.kernel, "bias": probe.bias}}},
            probe.kernel.size + probe.bias.size,
            {"steps": steps, "converged": steps < section.iterations},
        )

    return _on_features("linear_probe", "regularization", task, config, seed, fit)


def neighbors(task: setup.Task, config: ConfigDict, seed: int) -> Method:
    """Weighted k-NN over the training features; the number of neighbors chosen on validation."""
    section, classes = config.knn, len(task.dataset.classes)
    setup.check_numbers("knn.choices", section.choices, 1)
    setup.check_numbers("knn.temperature", [section.temperature], 1e-3)

    def fit(features: jax.Array, labels: jax.Array, value: float) -> Classifier:
        def logits(queries: jax.Array) -> jax.Array:
            scores = evaluate.knn(
                features, labels, queries, classes=classes, neighbors=int(value),
                temperature=section.temperature,
            )  # fmt: skip
            # of a class without a neighbor it is log 0
            return jnp.log(scores / scores.sum(axis=1, keepdims=True) + 1e-12)

        stored = {"features": features, "labels": labels}
        return Classifier(logits, {"neighbors": stored}, 0, {"steps": 0})

    return _on_features("knn", "neighbors", task, config, seed, fit)


def feature_function(task: setup.Task) -> Callable[[Any, jax.Array], jax.Array]:
    """(variables, uint8 images) -> float32 features, jitted."""

    @jax.jit
    def features(variables: Any, images: jax.Array) -> jax.Array:
        found: Any = task.module.apply(variables, task.augment(None, images), features=True)
        return found.astype(jnp.float32)

    return features


def _on_features(
    method: str,
    field: str,
    task: setup.Task,
    config: ConfigDict,
    seed: int,
    fit: Callable[[jax.Array, jax.Array, float], Classifier],
) -> Method:
    """A method that fits a classifier to features: tries its choices, reads the test split once."""
    section = config[method]
    own = config.copy_and_resolve_references()
    own.methods = (method,)

    def run(start: starting.Start, folder: Path) -> dict[str, Any]:
        finished = run_directory.begin(folder, own)
        if finished is not None:
            return finished
        began = time.monotonic()
        key = setup.named_key(seed, f"{method}/weights")
        variables = starting.starting_variables(task, start, key)
        features = feature_function(task)

        def extracted(split: Split) -> tuple[jax.Array, jax.Array]:
            found = evaluate.extract(lambda images: features(variables, images), split.images)
            return jnp.asarray(found), jnp.asarray(split.labels)

        train, validation = extracted(task.dataset.train), extracted(task.dataset.validation)
        for_features = time.monotonic() - began
        with Records(folder) as records:

            def attempt(value: float) -> Choice:
                began = time.monotonic()
                classifier = fit(*train, value)
                measured = _measure(classifier, *validation)
                steps = classifier.about["steps"]
                records.write(steps, 0, "validation", **{field: value}, **measured)
                seconds = time.monotonic() - began
                return Choice(value, measured["accuracy"], measured["loss"], seconds)

            value, choices = best_choice(method, section.choices, attempt)
            began = time.monotonic()
            classifier = fit(*train, value)
            seconds = for_features + time.monotonic() - began
            chosen = _measure(classifier, *validation)
            test = _measure(classifier, *extracted(task.dataset.test))
            records.write(classifier.about["steps"], 0, "test", **test)
        metrics = {
            "accuracy": test["accuracy"],
            "validation_accuracy": chosen["accuracy"],
        }
        about = {"method": method, "metrics": metrics, field: value}
        if method == "knn":
            about["temperature"] = section.temperature
        size = task_file.save(
            folder / "masks" / "task.mask", {}, classifier.arrays, task, config, start, about
        )
        return run_directory.finish(
            folder,
            {
                "recipe": "adapt",
                "method": method,
                "dataset": task.dataset.name,
                "network": config.network.name,
                "seed": seed,
                **metrics,
                "validation_loss": chosen["loss"],
                "density": 1.0,
                "density_by_leaf": {},
                "mask_bits": 0,
                "storage_bytes": size,
                "trained_numbers": classifier.numbers,
                field: value,
                "train_examples": len(task.dataset.train.labels),
                **classifier.about,
                "choices": [choice._asdict() for choice in choices],
                "seconds": seconds,
                "seconds_of_choices": sum(choice.seconds for choice in choices),
            },
        )

    return run


def _measure(classifier: Classifier, features: jax.Array, labels: jax.Array) -> dict[str, float]:
    logits = classifier.logits(features)
    return {
        "loss": float(cross_entropy(logits, labels).mean()),
        "accuracy": float((logits.argmax(-1) == labels).mean()),
    }
