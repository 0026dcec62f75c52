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


def watching(
    task: Task, adapter: Adapter, identity: Hashable, neighbors: int
) -> Callable[[State, Any], dict[str, float]]:
    """(state of a training, frozen trees) -> measures of its embeddings, by name.

    `knn_accuracy`: of k-NN on the validation images, where the training images vote. `dimensions`:
    over how many directions the validation images' unit-norm embeddings spread, `(sum l)^2 / sum
    l^2` of the eigenvalues l of their covariance (the participation ratio): 1 on a line.

    All are embedded on the device, where they are.

    Args:
      identity: of the adapter's functions; equal ones share a compiled program.
      neighbors: how many vote.
    """
    embedded = shared("embedded", (task.identity, identity), lambda: _embedded(task, adapter))

    def of_split(split: str, state: State, frozen: Any) -> tuple[jax.Array, jax.Array]:
        feed = task.feed(split)
        devices = task.mesh.shape["data"]
        batch = -(-min(BATCH, max(feed.examples, 1)) // devices) * devices
        order, valid = complete_order(feed.examples, batch)
        found = []
        for piece in feed.chunks(order, [1] * len(order)):
            signals.obey()
            found.append(
                embedded(state.learned, state.batch_stats, frozen, feed.resident, piece)[0]
            )
        whole = jnp.concatenate(found)[np.flatnonzero(valid.ravel())]
        return whole, jnp.asarray(getattr(task.dataset, split).labels)

    def measures(state: State, frozen: Any) -> dict[str, float]:
        voters, labels = of_split("train", state, frozen)
        queries, truth = of_split("validation", state, frozen)
        votes = evaluate.knn(
            voters, labels, queries, classes=len(task.dataset.classes), neighbors=neighbors
        )
        return {
            "knn_accuracy": float((votes.argmax(-1) == truth).mean()),
            "dimensions": dimensions(queries),
        }

    return measures


def dimensions(features: jax.Array) -> float:
    """The participation ratio of unit-norm features [N, F]; see `watching`."""
    vectors = np.asarray(evaluate.unit(features), np.float64)
    covariance = np.cov(vectors.T, bias=True).reshape(vectors.shape[1], -1)
    return float(np.trace(covariance) ** 2 / max((covariance**2).sum(), 1e-300))


def _embedded(task: Task, adapter: Adapter) -> Callable[..., jax.Array]:
    """(learned, batch_stats, frozen, resident, xs) -> features of the images of each x."""
    # not the task itself, whose images would stay as long as this program
    augment, fetch = task.augment, task.feed("train").fetch
    features = model.feature_function(task.module, lambda images: augment(None, images))

    @jax.jit
    def embedded(learned: Any, batch_stats: Any, frozen: Any, resident: Any, xs: Any) -> jax.Array:
        variables = {
            "params": adapter.parameters(without_loss(learned), frozen),
            "batch_stats": batch_stats,
        }
        return jax.lax.map(lambda x: features(variables, fetch(resident, x)[0]), xs)

    return embedded
