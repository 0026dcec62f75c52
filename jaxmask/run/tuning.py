"""Choosing a setting on validation data."""

from collections.abc import Sequence
from typing import NamedTuple

from jaxmask.errors import InputError


class Choice(NamedTuple):
    """A setting that was tried; validation accuracy and loss are None if training diverged."""

    value: float
    validation_accuracy: float | None
    validation_loss: float | None
    seconds: float


def best_choice(method: str, choices: Sequence[Choice]) -> float:
    """The value with the highest validation accuracy; ties go to the lowest loss.

    Raises:
      InputError: every value diverged.
    """
    best = max(choices, key=_rank)
    if best.validation_accuracy is None:
        tried = ", ".join(f"{choice.value:g}" for choice in choices)
        raise InputError(
            f"{method}: the loss was not finite with any of the choices {tried}; give others"
        )
    return best.value


def _rank(choice: Choice) -> tuple[float, float]:
    if choice.validation_accuracy is None or choice.validation_loss is None:
        return (-1.0, 0.0)
    return (choice.validation_accuracy, -choice.validation_loss)
