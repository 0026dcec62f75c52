"""Which classes are taken for which."""

from functools import partial

import jax
import jax.numpy as jnp


@partial(jax.jit, static_argnames="classes")
def confusion_matrix(labels: jax.Array, predictions: jax.Array, classes: int) -> jax.Array:
    """How often each class was taken for each: int32 [classes, classes], rows the true classes.

    Args:
      labels, predictions: int [N] in [0, classes).

    Example:
      >>> evaluate.confusion_matrix(jnp.array([0, 1, 1]), jnp.array([0, 0, 1]), 2).tolist()
      [[1, 0], [1, 1]]
    """
    return jnp.zeros((classes, classes), jnp.int32).at[labels, predictions].add(1)


@partial(jax.jit, static_argnames="classes")
def per_class_accuracy(labels: jax.Array, predictions: jax.Array, classes: int) -> jax.Array:
    """The share of each class's examples that are right: float32 [classes], NaN where it has none.

    Args:
      labels, predictions: int [N] in [0, classes).

    Example:
      >>> evaluate.per_class_accuracy(jnp.array([0, 1, 1]), jnp.array([0, 0, 1]), 2).tolist()
      [1.0, 0.5]
    """
    counts = confusion_matrix(labels, predictions, classes)
    return jnp.diagonal(counts) / counts.sum(axis=1)
