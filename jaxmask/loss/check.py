"""Checks of the settings of losses, and of the views given to them."""

from collections.abc import Sequence

import jax

from jaxmask.errors import InputError, is_number


def check_counts(least: int = 1, **counts: int) -> None:
    """Raises InputError, naming the setting, unless all are whole numbers of at least `least`."""
    for name, value in counts.items():
        if not isinstance(value, int) or not is_number(value, least):
            raise InputError(f"{name} is {value!r}; give a whole number of at least {least}")


def check_positive(**numbers: float) -> None:
    """Raises InputError, naming the setting, unless all are finite and above zero."""
    for name, value in numbers.items():
        if not is_number(value) or value <= 0:
            raise InputError(f"{name} is {value!r}; give a finite number above 0")


def check_shares(**numbers: float) -> None:
    """Raises InputError, naming the setting, unless all are in [0, 1]."""
    for name, value in numbers.items():
        if not is_number(value, 0, 1):
            raise InputError(f"{name} is {value!r}; give a number in [0, 1]")


def check_views(views: Sequence[jax.Array]) -> None:
    """Raises InputError unless these are at least two arrays [B, F] of one shape."""
    shapes = [tuple(view.shape) for view in views]
    if len(shapes) < 2 or len(set(shapes)) > 1 or len(shapes[0]) != 2:
        raise InputError(
            f"views have shapes {shapes}; give at least two arrays of one shape [batch, features]"
        )


def check_no_teacher(teacher: object) -> None:
    """Raises InputError if there is a teacher."""
    if teacher is not None:
        raise InputError("this loss has no teacher; pass None for it")
