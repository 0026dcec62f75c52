"""Weighted k-NN over stored training features of the unchanged network."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jaxmask import evaluate
from jaxmask.adapter.base import Classifier, Evaluator, Stored
from jaxmask.errors import check_numbers


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
    check_numbers("knn.choices", section.choices, 1)
    check_numbers("knn.temperature", [section.temperature], 1e-3)


KNN = Evaluator(
    field="neighbors",
    check=_check,
    fit=_fit,
    classify=_classify,
    defaults={
        "choices": (10, 20, 50, 200),  # neighbors
        "temperature": 0.1,
    },
)
