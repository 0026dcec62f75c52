"""Cross-entropy for classification."""

import jax
import jax.numpy as jnp

from jaxmask.precision import widened


def cross_entropy(logits: jax.Array, labels: jax.Array, smoothing: float = 0.0) -> jax.Array:
    """`-sum_c q_c log softmax(logits)_c` with `q = (1 - smoothing) onehot(label) + smoothing / C`.

    Args:
      logits: [..., C], any floating-point dtype; the loss is computed in at least float32.
      labels: [...], integers in [0, C).
      smoothing: share of the target spread evenly over the C classes (Szegedy et al.,
        "Rethinking the Inception Architecture for Computer Vision", 2016); 0 is plain.

    Returns:
      [...], the loss of each example, in nats.

    Example:
      >>> cross_entropy(jnp.zeros((2, 4)), jnp.array([0, 3]))  # log 4 each
      Array([1.3862944, 1.3862944], dtype=float32)
    """
    logits = widened(logits)
    log_probabilities = jax.nn.log_softmax(logits)
    picked = jnp.take_along_axis(log_probabilities, labels[..., None], axis=-1)[..., 0]
    # With smoothing 0, skip the mean over classes: this runs in every step.
    if isinstance(smoothing, int | float) and smoothing == 0:
        return -picked
    return -(1 - smoothing) * picked - smoothing * log_probabilities.mean(axis=-1)
