"""The weights of a ticket that lie on a path through its network, and their density."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from absl import logging
from ml_collections import ConfigDict

from jaxmask import mask, model, score
from jaxmask.errors import InputError
from jaxmask.run.programs import shared
from jaxmask.run.task import Task, axes, shapes


def effective(task: Task, config: ConfigDict, masks: Any) -> dict[str, Any]:
    """`effective_density` and `effective_density_by_leaf` of a mask of the task's network.

    It depends on nothing but the network and the mask: whatever is not masked counts as one, so a
    scale that starts at zero closes no path. One program for all masks of a network. A network with
    an operation that `score.connected` does not understand has None, and a warning says so.
    """
    connections = shared(
        "connections", task.identity, lambda: score.connected(_forward(task.network, shapes(task)))
    )
    # all tokens have the same weights, and one that another token reads has each kind of path
    shape = task.image_shape if len(task.image_shape) == 3 else (min(task.image_shape[0], 2),)
    image = jax.ShapeDtypeStruct((1, *model.real_shape(task.module, shape)), jnp.float32)
    try:
        found = connections(masks, image)
    except InputError as error:
        logging.warning("the effective density is not known: %s", error)
        return {"effective_density": None, "effective_density_by_leaf": {}}
    return {
        "effective_density": float(mask.measure.density(found)),
        "effective_density_by_leaf": mask.measure.density_by_leaf(found, axes(task, config)),
    }


def _forward(network: Callable[..., Any], like: Any) -> Callable[..., jax.Array]:
    """(masked weights, images) -> logits, all other variables one."""

    def forward(weights: Any, images: jax.Array) -> jax.Array:
        parameters = jax.tree.map(
            lambda masked, leaf: jnp.ones(leaf.shape, leaf.dtype) if masked is None else masked,
            weights, like["params"], is_leaf=lambda node: node is None,
        )  # fmt: skip
        stats = jax.tree.map(lambda leaf: jnp.ones(leaf.shape, leaf.dtype), like["batch_stats"])
        return network(parameters, stats, images, False)[0]

    return forward
