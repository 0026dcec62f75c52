"""Choosing a setting on validation data."""

from collections.abc import Callable, Sequence
from typing import NamedTuple


class Choice(NamedTuple):
    """A setting that was tried; accuracy and loss on validation data, None where it diverged."""

    value: float
    validation_accuracy: float | None
    validation_loss: float | None


def best_choice(
    method: str, values: Sequence[float], attempt: Callable[[float], Choice]
) -> tuple[float, list[Choice]]:
    """Tries every value; the best has the highest accuracy, then the lowest loss.

    A single value is taken untried: there is nothing to choose.
    """
    if len(values) == 1:
        return values[0], []
    choices = [attempt(value) for value in values]
    return max(choices, key=_rank).value, choices


def _rank(choice: Choice) -> tuple[float, float]:
    if choice.validation_accuracy is None or choice.validation_loss is None:
        return (-1.0, 0.0)
    return (choice.validation_accuracy, -choice.validation_loss)
