"""The training problem of a classifier: the loss of its logits on labeled images."""

from collections.abc import Callable

import jax

from jaxmask.train.epoch import correct
from jaxmask.train.state import Batch, Carried, Problem, Tree


def classifier(
    *,
    parameters: Callable[[Tree, Tree], Tree],
    masks: Callable[[Tree, Tree], Tree],
    network: Callable[[Tree, Tree, jax.Array, bool], tuple[jax.Array, Tree]],
    augment: Callable[[jax.Array | None, jax.Array], jax.Array],
    loss: Callable[[jax.Array, jax.Array], jax.Array],
) -> Problem:
    """The problem of minimizing the mean loss of logits on augmented images.

    Args:
      parameters, masks, network, augment: as in `Problem`.
      loss: (logits [B, C], labels [B]) -> [B].
    """

    def objective(
        learned: Tree, frozen: Tree, carried: Carried, batch: Batch
    ) -> tuple[jax.Array, tuple[Carried, dict[str, jax.Array]]]:
        images = augment(batch.key, batch.images)
        both = parameters(learned, frozen)
        logits, statistics = network(both, carried.batch_stats, images, True)
        mean = loss(logits, batch.labels).mean()
        totals = {"loss": mean * len(images), "accuracy": correct(logits, batch.labels)}
        return mean, (Carried(statistics, carried.memory), totals)

    return Problem(parameters, masks, network, augment, objective)
