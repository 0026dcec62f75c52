"""Choosing a setting on validation data."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from jaxmask.errors import InputError


class Choice(NamedTuple):
    """A setting that was tried; accuracy and loss on validation data, None where it diverged."""

    value: float
    validation_accuracy: float | None
    validation_loss: float | None
    seconds: float


def best_choice(
    method: str, values: Sequence[float], attempt: Callable[[float], Choice]
) -> tuple[float, list[Choice]]:
    """Tries every value; the best has the highest accuracy, then the lowest loss.

    A single value is taken untried: there is nothing to choose.

    Raises:
      InputError: every value diverged.
    """
    if len(values) == 1:
        return values[0], []
    choices = [attempt(value) for value in values]
    best = max(choices, key=_rank)
    if best.validation_accuracy is None:
        tried = ", ".join(f"{value:g}" for value in values)
        raise InputError(f"{method}: the loss was not finite with any of the choices {tried}")
    return best.value, choices


def _rank(choice: Choice) -> tuple[float, float]:
    if choice.validation_accuracy is None or choice.validation_loss is None:
        return (-1.0, 0.0)
    return (choice.validation_accuracy, -choice.validation_loss)
