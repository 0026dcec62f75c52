"""What losses of views share: projections of features, and cross-entropy between views.

Products of matrices are computed exactly: an accelerator's fast ones round to 8 or 11 bits, which
a division by a temperature of 0.05 makes twenty times as large.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxmask.errors import InputError
from jaxmask.loss.base import Parameters
from jaxmask.loss.check import check_views
from jaxmask.precision import common, wide

EXACTLY = jax.lax.Precision.HIGHEST


def linear(key: jax.Array, inputs: int, outputs: int, gain: float = 1.0) -> Parameters:
    """A layer that keeps the mean square of its input, times `gain`, at first."""
    kernel = jax.random.normal(key, (inputs, outputs), jnp.float32) * np.sqrt(gain / inputs)
    return {"kernel": kernel, "bias": jnp.zeros(outputs, jnp.float32)}


def dense(layer: Parameters, x: jax.Array) -> jax.Array:
    """`x @ kernel + bias`.

    Raises:
      InputError: the layer was made for another number of features.
    """
    inputs = layer["kernel"].shape[0]
    if x.shape[-1] != inputs:
        raise InputError(
            f"there are {x.shape[-1]} features, the parameters are for {inputs}; "
            f"call init with {x.shape[-1]}"
        )
    return jnp.matmul(x, layer["kernel"], precision=EXACTLY) + layer["bias"]


def unit(x: jax.Array) -> jax.Array:
    """Vectors along the last axis divided by their lengths; zero stays zero."""
    squared = jnp.sum(x * x, axis=-1, keepdims=True)
    return x * jax.lax.rsqrt(jnp.maximum(squared, 1e-24))


def similarities(embeddings: jax.Array, prototypes: jax.Array) -> jax.Array:
    """Scalar products [..., K] of embeddings [..., D] with prototypes [K, D]."""
    return jnp.matmul(embeddings, prototypes.T, precision=EXACTLY)


def in_one_dtype(
    parameters: Parameters, views: Sequence[jax.Array]
) -> tuple[Parameters, jax.Array]:
    """The parameters, and the views as one array [V, B, F], as wide as the widest of them.

    Raises:
      InputError: these are not at least two arrays [B, F] of one shape.
    """
    check_views(views)
    dtype = wide(common([*jax.tree.leaves(parameters), *views]))
    parameters = jax.tree.map(lambda leaf: leaf.astype(dtype), parameters)
    return parameters, jnp.stack([view.astype(dtype) for view in views])


def frozen(parameters: Any, until: float, progress: Any) -> Any:
    """The same values, whose gradient is zero while `progress < until`."""
    return jnp.where(progress < until, jax.lax.stop_gradient(parameters), parameters)


def between_views(targets: jax.Array, logits: jax.Array) -> jax.Array:
    """The mean cross-entropy of each large view's targets with the logits of all other views.

    Args:
      targets: [2, B, K], distributions over the last axis.
      logits: [V, B, K]; those of the large views come first.
    """
    predicted = jax.nn.log_softmax(logits)
    pairs = -jnp.einsum("tbk,vbk->tv", targets, predicted, precision=EXACTLY)
    others = 1 - np.eye(2, len(logits))  # a view does not predict itself
    weights = jnp.asarray(others / others.sum() / logits.shape[1], logits.dtype)
    return jnp.sum(pairs * weights)


def spread(embeddings: jax.Array) -> jax.Array:
    """`1 - |mean|^2` of unit vectors [..., D]: their variance, 0 if all are equal."""
    flat = embeddings.reshape(-1, embeddings.shape[-1])
    return 1 - jnp.sum(jnp.square(flat.mean(axis=0)))


def share_used(scores: jax.Array) -> jax.Array:
    """The share of the K entries that are the largest of some example of [..., K]."""
    winners = jax.nn.one_hot(jnp.argmax(scores, axis=-1), scores.shape[-1], dtype=bool)
    used = jnp.any(winners, axis=tuple(range(scores.ndim - 1)))
    return jnp.mean(used, dtype=scores.dtype)
