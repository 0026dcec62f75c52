"""Features of a network in the middle of its training, and how well they tell classes apart."""

from collections.abc import Callable, Hashable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxmask import evaluate, model, signals
from jaxmask.adapter import Adapter
from jaxmask.run.programs import shared
from jaxmask.run.task import Task
from jaxmask.train.feed import complete_order
from jaxmask.train.state import State
from jaxmask.train.unlabeled import without_loss

BATCH = 512


def knn_accuracy(
    task: Task,
    adapter: Adapter,
    identity: Hashable,
    neighbors: int,
    temperature: float = 0.1,
) -> Callable[[State, Any], float]:
    """(state of a training, frozen trees) -> accuracy of k-NN on the validation images.

    The voters are the training images; both are embedded on the device, where they are.

    Args:
      identity: of the adapter's functions; equal ones share a compiled program.
    """
    embedded = shared("embedded", (task.identity, identity), lambda: _embedded(task, adapter))

    def of_split(split: str, state: State, frozen: Any) -> tuple[jax.Array, jax.Array]:
        feed = task.feed(split)
        order, valid = complete_order(feed.examples, min(BATCH, max(feed.examples, 1)))
        found = []
        for piece in feed.chunks(order, [1] * len(order)):
            signals.obey()
            found.append(
                embedded(state.learned, state.batch_stats, frozen, feed.resident, piece)[0]
            )
        whole = jnp.concatenate(found)[np.flatnonzero(valid.ravel())]
        return whole, jnp.asarray(getattr(task.dataset, split).labels)

    def accuracy(state: State, frozen: Any) -> float:
        voters, labels = of_split("train", state, frozen)
        queries, truth = of_split("validation", state, frozen)
        votes = evaluate.knn(
            voters, labels, queries, classes=len(task.dataset.classes),
            neighbors=neighbors, temperature=temperature,
        )  # fmt: skip
        return float((votes.argmax(-1) == truth).mean())

    return accuracy


def _embedded(task: Task, adapter: Adapter) -> Callable[..., jax.Array]:
    """(learned, batch_stats, frozen, resident, xs) -> features of the images of each x."""
    features = model.feature_function(task.module, lambda images: task.augment(None, images))

    @jax.jit
    def embedded(learned: Any, batch_stats: Any, frozen: Any, resident: Any, xs: Any) -> jax.Array:
        variables = {
            "params": adapter.parameters(without_loss(learned), frozen),
            "batch_stats": batch_stats,
        }
        fetch = task.feed("train").fetch
        return jax.lax.map(lambda x: features(variables, fetch(resident, x)[0]), xs)

    return embedded
