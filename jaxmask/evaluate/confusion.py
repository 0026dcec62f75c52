"""Which classes are confused with which, and the accuracy of each."""

from functools import partial

import jax
import jax.numpy as jnp

from jaxmask.errors import InputError
from jaxmask.sharding import replicated


@partial(jax.jit, static_argnames="classes")
@replicated
def confusion_matrix(labels: jax.Array, predictions: jax.Array, classes: int) -> jax.Array:
    """The number of examples of each class (row) predicted as each class (column).

    Args:
      labels: [N], integers; examples with a label outside [0, classes) are left out.
      predictions: [N], integers; likewise.
      classes: C.

    Returns:
      int32 [C, C].

    Raises:
      InputError: the numbers of predictions and labels differ.

    Example:
      >>> confusion_matrix(jnp.array([0, 0, 1]), jnp.array([0, 1, 1]), 2).tolist()
      [[1, 1], [0, 1]]
    """
    labels, predictions = _fitting(labels, predictions)
    known = _inside(labels, classes) & _inside(predictions, classes)
    row = jnp.where(known, labels, classes)  # a row out of range, which is dropped
    counts = jnp.zeros((classes, classes), jnp.int32)
    return counts.at[row, predictions].add(1, mode="drop")


@partial(jax.jit, static_argnames="classes")
@replicated
def per_class_accuracy(labels: jax.Array, predictions: jax.Array, classes: int) -> jax.Array:
    """The fraction of each class's examples predicted correctly; NaN for a class without any.

    Args:
      labels: [N], integers; examples with a label outside [0, classes) are left out.
      predictions: [N], integers.
      classes: C.

    Returns:
      Floating point [C].

    Raises:
      InputError: the numbers of predictions and labels differ.

    Example:
      >>> per_class_accuracy(jnp.array([0, 0, 1]), jnp.array([0, 1, 1]), 3).tolist()
      [0.5, 1.0, nan]
    """
    labels, predictions = _fitting(labels, predictions)
    row = jnp.where(_inside(labels, classes), labels, classes)
    none = jnp.zeros(classes, jnp.int32)
    right = none.at[row].add((labels == predictions).astype(jnp.int32), mode="drop")
    return right / none.at[row].add(1, mode="drop")


def _inside(labels: jax.Array, classes: int) -> jax.Array:
    return (labels >= 0) & (labels < classes)


def _fitting(labels: jax.Array, predictions: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Both as int32, which holds any number of classes."""
    if labels.ndim != 1 or labels.shape != predictions.shape:
        raise InputError(
            f"labels {labels.shape} and predictions {predictions.shape} do not match; "
            "give [N] for both"
        )
    return labels.astype(jnp.int32), predictions.astype(jnp.int32)
