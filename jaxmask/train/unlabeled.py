"""The training problem of a loss of views: images are learned from without their labels."""

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any

import jax
import jax.numpy as jnp

from jaxmask.loss import ViewLoss, adversarial
from jaxmask.train.state import Batch, Carried, Problem, Tree

LOSS = "loss"  # the group of learned trees that the loss learns, such as its projection
HARDER = "harder_loss"  # the name of the loss with an adversarial view
Embed = Callable[[Tree, Tree, jax.Array], tuple[jax.Array, Tree]]


def of_views(
    network: Problem,
    embed: Embed,
    views: Callable[[jax.Array, jax.Array], Sequence[jax.Array]],
    loss: ViewLoss,
    *,
    steps: int,
    metrics: Sequence[str] = (),
    adversarial_step: float = 0.0,
    adversarial_mix: float = 1.0,
) -> Problem:
    """A problem that minimizes a loss of views in place of the loss of `network`.

    What the loss learns is the group "loss" of the learned trees, beside those that make the
    network. The memory has that of the loss and, for a loss with a teacher, an average of all
    learned trees: of scores, so that the teacher of a mask is a mask.

    Args:
      network: a problem of the same network; its `objective` is replaced.
      embed: (parameters, batch_stats, images [N, H, W, C]) -> (features [N, F], batch_stats),
        in training.
      views: (key, uint8 images [B, H, W, C]) -> images [views, B, ...] of each size; the first
        two views are the large ones.
      steps: of the whole training.
      metrics: names of the loss's metrics to record.
      adversarial_step: how far each pixel of the first view moves to raise the loss; 0 is off.
      adversarial_mix: weight of the loss with that view, beside 1 for the plain loss.
    """
    names = [*metrics, *([HARDER] if adversarial_step else [])]

    def features(
        learned: Tree, frozen: Tree, statistics: Tree, images: Sequence[jax.Array]
    ) -> tuple[list[jax.Array], Tree]:
        """Of each view; those of one size are one batch for the network."""
        parameters, found = network.parameters(without_loss(learned), frozen), []
        for _, same in groupby(images, lambda view: view.shape):
            group = list(same)
            out, statistics = embed(parameters, statistics, jnp.concatenate(group))
            found += jnp.split(out, len(group))
        return found, statistics

    def objective(learned: Tree, frozen: Tree, carried: Carried, batch: Batch) -> Any:
        images = [view for size in views(batch.key, batch.images) for view in size]
        progress, memory, teacher = batch.step / steps, carried.memory, None
        if loss.momentum is not None:
            average = _teacher(loss, memory["teacher"], learned, (batch.step - 1) / steps)
            seen, _ = features(average, frozen, carried.batch_stats, images[:2])
            teacher = average[LOSS], jax.lax.stop_gradient(seen)
            memory = {**memory, "teacher": average}

        def of(images: Sequence[jax.Array], learned: Tree) -> Any:
            found, statistics = features(learned, frozen, carried.batch_stats, images)
            value, kept, measured = loss.loss(
                learned[LOSS], memory["loss"], found, teacher, progress
            )
            return value, (statistics, kept, measured)

        value, (statistics, kept, measured) = of(images, learned)
        if adversarial_step:
            harder = adversarial(lambda images, learned: of(images, learned)[0], adversarial_step)
            hard, _ = of(harder(images, learned), learned)
            measured = {**measured, HARDER: hard}
            value = (value + adversarial_mix * hard) / (1 + adversarial_mix)
        totals = {name: measured[name] * len(batch.images) for name in names}
        totals["loss"] = value * len(batch.images)
        return value, (Carried(statistics, {**memory, "loss": kept}), totals)

    def after(learned: dict[str, Tree]) -> dict[str, Tree]:
        return {**learned, LOSS: loss.after(learned[LOSS])}

    return network._replace(
        parameters=lambda learned, frozen: network.parameters(without_loss(learned), frozen),
        masks=lambda learned, frozen: network.masks(without_loss(learned), frozen),
        objective=objective,
        after=after,
        measured=dict.fromkeys(["loss", *names], jnp.float32),
    )


def memory(loss: ViewLoss, learned: dict[str, Tree], batch_size: int) -> Tree:
    """What the first step of a problem of views carries beside batch statistics.

    Args:
      learned: with the group "loss".
    """
    kept: dict[str, Tree] = {"loss": loss.memory(learned[LOSS], batch_size)}
    return kept if loss.momentum is None else {**kept, "teacher": learned}


def without_loss(learned: dict[str, Tree]) -> dict[str, Tree]:
    """The learned trees that make the network."""
    return {group: tree for group, tree in learned.items() if group != LOSS}


def _teacher(loss: ViewLoss, average: Tree, learned: Tree, progress: jax.Array) -> Tree:
    """The average after the step before, `m w' + (1 - m) w`; at the first, all are equal."""
    assert loss.momentum is not None
    keep = loss.momentum(jnp.maximum(progress, 0))
    learned = jax.lax.stop_gradient(learned)
    return jax.tree.map(lambda a, w: (keep * a + (1 - keep) * w).astype(w.dtype), average, learned)
