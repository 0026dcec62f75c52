"""A linear probe: a new head by logistic regression on the features of the unchanged network."""

from typing import Any

import jax

from jaxmask import evaluate
from jaxmask.adapter.base import Classifier, Evaluator, Stored
from jaxmask.errors import InputError, check_numbers


def _fit(
    features: jax.Array, labels: jax.Array, value: float, classes: int, section: Any
) -> Classifier:
    probe = evaluate.linear_probe(
        features, labels, value, classes=classes, iterations=section.iterations
    )
    steps = int(probe.iterations)
    head = {"kernel": probe.kernel, "bias": probe.bias}
    return Classifier(
        lambda features: features @ probe.kernel + probe.bias,
        Stored({}, {"params": {"head": head}}, {}),
        probe.kernel.size + probe.bias.size,
        {"steps": steps, "converged": steps < section.iterations},
    )


def _check(section: Any) -> None:
    check_numbers("linear_probe.iterations", [section.iterations], 1)
    if not isinstance(section.iterations, int):
        raise InputError(f"linear_probe.iterations has {section.iterations}; give a whole number")


LINEAR_PROBE = Evaluator(
    field="regularization",
    check=_check,
    fit=_fit,
    classify=None,
    defaults={
        # of the mean loss: 0.5 * value * |weights|^2, on standardized features
        "choices": (1e-4, 1e-3, 1e-2, 1e-1),
        "iterations": 500,
    },
    about="a head alone: logistic regression on the features, by L-BFGS",
)
