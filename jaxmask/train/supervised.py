"""The training problem of a classifier: the loss of its logits on labeled images, or of words."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxmask.train.epoch import correct
from jaxmask.train.state import COUNTED, Batch, Carried, Problem, Tree, labels_of


def classifier(
    *,
    parameters: Callable[[Tree, Tree], Tree],
    masks: Callable[[Tree, Tree], Tree],
    network: Callable[[Tree, Tree, Any, bool], tuple[jax.Array, Tree]],
    augment: Callable[[jax.Array | None, jax.Array], Any],
    loss: Callable[[jax.Array, jax.Array], jax.Array],
    targets: Callable[[Any, jax.Array], tuple[jax.Array, jax.Array | None]] = labels_of,
) -> Problem:
    """The problem of minimizing the mean loss of logits on augmented images.

    Args:
      parameters, masks, network, augment, targets: as in `Problem`.
      loss: (logits [..., C], labels [...]) -> [...].
    """

    def objective(
        learned: Tree, frozen: Tree, carried: Carried, batch: Batch
    ) -> tuple[jax.Array, tuple[Carried, dict[str, jax.Array]]]:
        images = augment(batch.key, batch.images)
        both = parameters(learned, frozen)
        logits, statistics = network(both, carried.batch_stats, images, True)
        labels, counted = targets(images, batch.labels)
        losses = loss(logits, labels)
        if counted is None:
            mean = losses.mean()
            totals = {"loss": mean * len(labels), "accuracy": correct(logits, labels)}
        else:
            number = counted.sum(dtype=jnp.int32)
            total = jnp.where(counted, losses, 0).sum()
            mean = total / jnp.maximum(number, 1)
            right = correct(logits, labels, counted)
            totals = {"loss": total, "accuracy": right, COUNTED: number}
        return mean, (Carried(statistics, carried.memory), totals)

    return Problem(parameters, masks, network, augment, objective, targets=targets)
