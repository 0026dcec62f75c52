"""DINO: every view predicts what a slower average of the network says of the large views."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxmask.errors import InputError
from jaxmask.loss.base import Memory, Outcome, Parameters, Teacher, ViewLoss
from jaxmask.loss.check import check_counts, check_positive, check_shares
from jaxmask.loss.head import (
    between_views,
    dense,
    frozen,
    in_one_dtype,
    linear,
    share_used,
    similarities,
    spread,
    unit,
)
from jaxmask.precision import wide
from jaxmask.sharding import like, replicated


def dino(
    prototypes: int = 4096,
    dimension: int = 256,
    hidden: int = 2048,
    temperature: float = 0.1,
    teacher_temperature: float = 0.07,
    warm_temperature: float = 0.04,
    warm_until: float = 0.1,
    center_momentum: float = 0.9,
    teacher_momentum: float = 0.996,
    frozen_until: float = 0.01,
) -> ViewLoss:
    """`-1/2 sum_t 1/(V-1) sum_{v != t} mean_b sum_k P_tbk log softmax_k(s_vb / temperature)`.

    `P_t = softmax((s'_t - center) / tau)`, where `s'_t` are the teacher's outputs for large view
    t, and `s_v` the student's for any of the V views. Outputs are `z . c_k` with features after
    three layers with GELU between them, features -> hidden -> hidden -> dimension, of length 1 as
    `z`, and prototypes `c` divided by their length: the published last layer, normalized by weight
    with its gain fixed at 1. The center is a running average of the teacher's outputs; tau grows
    linearly from `warm_temperature` to `teacher_temperature`. No gradient flows to the teacher.

    The caller keeps the teacher: the same network and head, each weight `m w' + (1 - m) w` after
    a step, with m from `momentum(progress)`, which rises from `teacher_momentum` to 1 as a cosine.

    Metrics: `prototypes_used`, the share of prototypes that the teacher prefers, after centering,
    for an example of a large view (at most 2 B / K), and `spread`, `1 - |mean z|^2` of the
    student there. Both near zero: collapse.

    Source: Caron et al., Emerging properties in self-supervised vision transformers, 2021,
    https://arxiv.org/abs/2104.14294.

    Args:
      prototypes: K; the paper has up to 65,536, for ImageNet.
      dimension: of the embeddings.
      hidden: size of the two hidden layers.
      temperature: the student's.
      teacher_temperature: tau from `warm_until` on.
      warm_temperature: tau at the start.
      warm_until: progress at which tau is at its final value, in [0, 1]; published, 30 epochs.
      center_momentum: share of itself that the center keeps in a step, in [0, 1].
      teacher_momentum: m at the start, in [0, 1].
      frozen_until: progress before which the prototypes' gradient is zero, in [0, 1]; published,
        one epoch.

    Returns:
      A loss with a teacher; its memory is the `center`, its parameters are the layers `first`,
      `second` and `projection`, and `prototypes` [K, dimension].

    Raises:
      InputError: a setting is out of its range; or, from `loss`, views have different shapes, or
        there is no teacher.

    Example:
      >>> way = dino(prototypes=6, dimension=3, hidden=4)
      >>> parameters = way.init(jax.random.key(0), 5)
      >>> views = jax.random.normal(jax.random.key(1), (3, 4, 5))
      >>> memory = way.memory(parameters, 4)
      >>> teacher = parameters, views[:2]
      >>> loss, memory, metrics = way.loss(parameters, memory, views, teacher, 0.0)
      >>> memory["center"].shape, float(way.momentum(1.0))
      ((6,), 1.0)
    """
    check_counts(prototypes=prototypes, dimension=dimension, hidden=hidden)
    check_positive(temperature=temperature, teacher_temperature=teacher_temperature,
                   warm_temperature=warm_temperature)  # fmt: skip
    check_shares(warm_until=warm_until, center_momentum=center_momentum,
                 teacher_momentum=teacher_momentum, frozen_until=frozen_until)  # fmt: skip

    def init(key: jax.Array, features: int) -> Parameters:
        keys = jax.random.split(key, 4)
        directions = jax.random.normal(keys[3], (prototypes, dimension), jnp.float32)
        return {
            "first": linear(keys[0], features, hidden, gain=2.0),
            "second": linear(keys[1], hidden, hidden, gain=2.0),
            "projection": linear(keys[2], hidden, dimension),
            "prototypes": unit(directions),
        }

    def memory(parameters: Parameters, batch: int) -> Memory:
        return {"center": jnp.zeros(prototypes, wide(parameters["prototypes"].dtype))}

    def outputs(parameters: Parameters, features: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The embeddings [V, B, D] and the outputs [V, B, K]."""
        for layer in ("first", "second"):
            features = jax.nn.gelu(dense(parameters[layer], features), approximate=False)
        embeddings = unit(dense(parameters["projection"], features))
        return embeddings, similarities(embeddings, unit(parameters["prototypes"]))

    def warming(progress: jax.Array) -> jax.Array | float:
        if not warm_until:
            return teacher_temperature
        done = jnp.minimum(progress / warm_until, 1)
        return warm_temperature + (teacher_temperature - warm_temperature) * done

    def loss(
        parameters: Parameters,
        memory: Memory,
        views: Sequence[jax.Array],
        teacher: Teacher | None,
        progress: Any,
    ) -> Outcome:
        if teacher is None:
            raise InputError("dino needs a teacher: its parameters, its features of two views")
        parameters, features = in_one_dtype(parameters, views)
        kept = frozen(parameters["prototypes"], frozen_until, progress)
        embeddings, scores = outputs({**parameters, "prototypes": kept}, features)
        memory, teacher = jax.lax.stop_gradient((memory, teacher))
        _, wanted = outputs(*in_one_dtype(*teacher))
        centered = wanted - memory["center"].astype(wanted.dtype)
        tau = warming(jnp.asarray(progress, wanted.dtype))
        targets = jax.nn.softmax(centered / tau).astype(scores.dtype)
        mean = wanted.mean(axis=(0, 1)).astype(memory["center"].dtype)
        center = center_momentum * memory["center"] + (1 - center_momentum) * mean
        metrics = {
            "prototypes_used": share_used(centered),
            "spread": spread(jax.lax.stop_gradient(embeddings[:2])),
        }
        value = between_views(targets, scores / temperature)
        return value, like(memory, {"center": center}), metrics

    def momentum(progress: Any) -> jax.Array:
        falling = (jnp.cos(jnp.pi * jnp.asarray(progress)) + 1) / 2
        return 1 - (1 - teacher_momentum) * falling

    return ViewLoss(init, memory, replicated(loss), lambda parameters: parameters, momentum)
