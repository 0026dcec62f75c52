"""Builds from a config what training without labels takes: a loss, and the views that it sees."""

from functools import lru_cache, partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from jaxmask import data, loss, model
from jaxmask.errors import check_numbers
from jaxmask.run.plan import FORWARD
from jaxmask.run.task import Task
from jaxmask.run.trainer import Unlabeled
from jaxmask.train import unlabeled
from jaxmask.train.named import call


def loss_of(task: Task, config: ConfigDict) -> tuple[loss.ViewLoss, int, Unlabeled]:
    """The loss of views that a config describes, the features' size, and training with it.

    Raises:
      InputError: a field has an invalid value, or the network gives no features.
    """
    of_views: loss.ViewLoss = call(config.loss, loss.VIEW_LOSSES, "loss")
    section = config.views
    side = task.image_shape[0]
    large, small = data.view_sizes(section.large_size or side)
    small = section.small_size or small
    mean, std = task.normalization
    make = data.views(
        mean=mean, std=std, large_size=large, small_size=small, small=section.small,
        large_scale=tuple(section.large_scale), small_scale=tuple(section.small_scale),
        flip=section.flip, jitter=section.jitter, gray=section.gray, blur=section.blur,
    )  # fmt: skip
    check_numbers("adversarial_step", [config.adversarial_step], 0)
    check_numbers("adversarial_mix", [config.adversarial_mix], 0)
    embed = model.embedding_function(task.module)
    features = _features(task.module, tuple(task.image_shape))
    metrics = _metrics(features, of_views)
    identity = (config.loss, section.to_json(), config.adversarial_step, config.adversarial_mix)
    problem = lambda labeled, steps: unlabeled.of_views(  # noqa: E731
        labeled, embed, make, of_views, steps=steps, metrics=metrics,
        adversarial_step=config.adversarial_step, adversarial_mix=config.adversarial_mix,
    )  # fmt: skip
    passes = _passes(
        2 * (large / side) ** 2, section.small * (small / side) ** 2,
        teacher=of_views.momentum is not None, adversarial=config.adversarial_step > 0,
    )  # fmt: skip
    memory = partial(unlabeled.memory, of_views)
    return of_views, features.shape[-1], Unlabeled(problem, memory, identity, passes)


def _passes(large: float, small: float, *, teacher: bool, adversarial: bool) -> float:
    """What a step costs for each example, in forward and backward passes of an image.

    A forward pass is a third of both. A teacher sees the large views forward. An
    adversarial view takes a backward pass through the large views to their pixels, then
    everything again but the small views' forward pass.

    Args:
      large, small: pixels of all such views of an example, in those of the image.
    """
    found = large + small
    if teacher:
        found += FORWARD * large
    if adversarial:
        found += FORWARD * large + large + (1 - FORWARD) * small
    return found


@lru_cache(maxsize=32)  # to trace a network takes as long as all other checks of a config
def _features(module: nn.Module, image_shape: tuple[int, ...]) -> jax.ShapeDtypeStruct:
    """The features of two images."""
    variables = {"batch_stats": {}, **model.shapes(module, image_shape)}
    images = jax.ShapeDtypeStruct((2, *image_shape), jnp.float32)
    embed = model.embedding_function(module)
    return jax.eval_shape(embed, variables["params"], variables["batch_stats"], images)[0]


def _metrics(features: jax.ShapeDtypeStruct, of_views: loss.ViewLoss) -> tuple[str, ...]:
    """The names of the loss's metrics."""

    def metrics(features: jax.Array) -> dict[str, jax.Array]:
        parameters = of_views.init(jax.random.key(0), features.shape[-1])
        teacher = None if of_views.momentum is None else (parameters, [features, features])
        memory = of_views.memory(parameters, len(features))
        return of_views.loss(parameters, memory, [features, features], teacher, 0.0)[2]

    return tuple(jax.eval_shape(metrics, features))
