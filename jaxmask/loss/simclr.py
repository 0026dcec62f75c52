"""SimCLR: two views of an image attract each other, all other images repel."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxmask.loss.base import Memory, Outcome, Parameters, Teacher, ViewLoss
from jaxmask.loss.check import check_counts, check_no_teacher, check_positive, check_views
from jaxmask.loss.head import EXACTLY, dense, in_one_dtype, linear, spread, unit
from jaxmask.sharding import replicated


def simclr(dimension: int = 128, temperature: float = 0.5) -> ViewLoss:
    """NT-Xent, `-mean_i log(exp(z_i . z_j(i) / t) / sum_{k != i} exp(z_i . z_k / t))`.

    i and k run over the 2B embeddings of the two large views, j(i) is the other view of the same
    image. `z` are features after two layers with a ReLU between them, features -> features ->
    dimension, of length 1. Small views are not used.

    Metrics: `spread`, `1 - |mean z|^2`, zero on a collapse; and `matched`, the share of
    embeddings that are nearer to their other view than to any other image.

    Source: Chen et al., A simple framework for contrastive learning of visual representations,
    2020, https://arxiv.org/abs/2002.05709.

    Args:
      dimension: of the embeddings.
      temperature: t. 0.5 is the paper's for CIFAR-10 and small batches; for ImageNet with 4,096
        images a batch it has 0.1.

    Returns:
      A loss without teacher or memory; its parameters are the layers `hidden` and `projection`.

    Raises:
      InputError: a setting is out of its range; or, from `loss`, views have different shapes, or
        there is a teacher.

    Example:
      >>> way = simclr(dimension=3)
      >>> parameters = way.init(jax.random.key(0), 5)
      >>> views = jax.random.normal(jax.random.key(1), (1, 4, 5)).repeat(2, axis=0)
      >>> loss, _, metrics = way.loss(parameters, {}, views, None, 0.0)
      >>> float(metrics["matched"])  # two equal views
      1.0
    """
    check_counts(dimension=dimension)
    check_positive(temperature=temperature)

    def init(key: jax.Array, features: int) -> Parameters:
        first, second = jax.random.split(key)
        return {
            "hidden": linear(first, features, features, gain=2.0),
            "projection": linear(second, features, dimension),
        }

    def loss(
        parameters: Parameters,
        memory: Memory,
        views: Sequence[jax.Array],
        teacher: Teacher | None,
        progress: Any,
    ) -> Outcome:
        check_no_teacher(teacher)
        check_views(views)
        # the others have no gradient, not even zeros, which would go back through the network
        parameters, features = in_one_dtype(parameters, views[:2])
        hidden = jax.nn.relu(dense(parameters["hidden"], features))
        embeddings = unit(dense(parameters["projection"], hidden))
        logits = jnp.einsum("vbd,wcd->vbwc", embeddings, embeddings, precision=EXACTLY)
        image = jnp.eye(logits.shape[1], dtype=bool)[None, :, None, :]
        itself = image & jnp.eye(2, dtype=bool)[:, None, :, None]
        others = jnp.where(itself, -jnp.inf, logits / temperature)
        positive = jnp.sum(embeddings[0] * embeddings[1], axis=-1) / temperature
        each = jax.nn.logsumexp(others, axis=(2, 3)) - positive
        nearest = jnp.max(jnp.where(image, -jnp.inf, others), axis=(2, 3))
        metrics = {
            "matched": jnp.mean(positive > nearest, dtype=logits.dtype),
            "spread": spread(embeddings),
        }
        return jnp.mean(each), memory, jax.lax.stop_gradient(metrics)

    return ViewLoss(init, lambda parameters, batch: {}, replicated(loss), lambda p: p)
