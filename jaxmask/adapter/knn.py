"""Weighted k-NN over stored training features of the unchanged network."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxmask import evaluate, tree
from jaxmask.adapter.base import Classifier, Evaluator, Stored, check_used
from jaxmask.errors import InputError, check_numbers

MOST_NEIGHBORS = 10**9
TEMPERATURES = 1e-3, 1e6


def _fit(
    features: jax.Array, labels: jax.Array, value: float, classes: int, section: Any
) -> Classifier:
    arrays = {"neighbors": {"features": features, "labels": labels}}
    settings = {"neighbors": value, "temperature": section.temperature}
    return Classifier(
        lambda queries: _classify(arrays, settings, queries, classes),
        Stored({}, arrays, settings),
        0,
        {"steps": 0},
    )


def _classify(
    arrays: dict[str, Any], settings: Mapping[str, Any], features: jax.Array, classes: int
) -> jax.Array:
    """Log fractions of the weighted votes, float32 [N, classes]."""
    stored = arrays["neighbors"]
    scores = evaluate.knn(
        stored["features"], stored["labels"], features, classes=classes,
        neighbors=int(settings["neighbors"]), temperature=settings["temperature"],
    )  # fmt: skip
    # avoids log 0 for a class without neighbors
    return jnp.log(scores / scores.sum(axis=1, keepdims=True) + 1e-12)


def _check(section: Any) -> None:
    _check_neighbors("knn.choices", section.choices)
    check_numbers("knn.temperature", [section.temperature], *TEMPERATURES)


def _check_neighbors(name: str, values: Sequence[Any]) -> None:
    check_numbers(name, values, 1, MOST_NEIGHBORS)
    if any(value != int(value) for value in values):
        raise InputError(f"{name} has {tuple(values)}; give whole numbers")


def _check_stored(stored: Stored, classes: int) -> None:
    check_used(stored, ("params", "neighbors"))
    voters = stored.arrays.get("neighbors", {})
    features, labels = (np.asarray(voters.get(name, ())) for name in ("features", "labels"))
    if features.ndim != 2 or not features.size or labels.shape != features.shape[:1]:
        raise InputError(
            f"it has features {features.shape} and labels {labels.shape}, not [N, F] and [N]"
        )
    if not tree.is_floating(features):
        raise InputError(f"its features are of {features.dtype}, not of floating-point numbers")
    if labels.dtype.kind not in "iu" or labels.min() < 0 or labels.max() >= classes:
        raise InputError(f"its labels are not whole numbers in [0, {classes})")
    neighbors, temperature = (stored.settings.get(n) for n in ("neighbors", "temperature"))
    _check_neighbors("neighbors", [neighbors])
    check_numbers("temperature", [temperature], *TEMPERATURES)


KNN = Evaluator(
    field="neighbors",
    check=_check,
    fit=_fit,
    classify=_classify,
    check_stored=_check_stored,
    defaults={
        "choices": (10, 20, 50, 200),  # neighbors
        "temperature": 0.1,
    },
    about="nearest neighbors among the training features (Wu et al. 2018)",
)
