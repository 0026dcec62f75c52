"""SwAV: the cluster of one view is predicted from the other views."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxmask.loss.base import Memory, Outcome, Parameters, Teacher, ViewLoss
from jaxmask.loss.check import check_counts, check_no_teacher, check_positive, check_shares
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
from jaxmask.loss.sinkhorn import sinkhorn
from jaxmask.precision import wide
from jaxmask.sharding import like, replicated


def swav(
    prototypes: int = 500,
    dimension: int = 128,
    temperature: float = 0.1,
    epsilon: float = 0.05,
    rounds: int = 3,
    queue: int = 512,
    queue_from: float = 0.2,
    frozen_until: float = 0.01,
) -> ViewLoss:
    """`-1/2 sum_t 1/(V-1) sum_{v != t} mean_b sum_k Q_tbk log softmax_k(z_vb . c_k / temperature)`.

    `z` are the views' features after a linear projection, of length 1; `c` are prototypes, of
    length 1 after every step; t runs over the two large views, v over all V. The codes `Q_t` are
    `sinkhorn(z_t . c, epsilon, rounds)`, through which no gradient flows.

    A batch that is small beside the prototypes cannot be spread over them evenly, so a queue for
    each large view holds its latest embeddings, newest first, and they take part in Sinkhorn-Knopp
    with the current prototypes. As in the published code, it is filled from `queue_from` on and
    used from the first step that begins with it full. It may be of any size beside the batch.

    The projection is linear, as for self-masking networks; for ImageNet, SwAV has two layers.
    Prototypes are frozen by a gradient of zero; a weight decay of theirs only changes their
    length, which `after` restores.

    Metrics: `prototypes_used`, the share of prototypes that are the nearest of an example in a
    large view (at most 2 B / K), and `spread`, `1 - |mean z|^2` there. Both near zero: collapse.

    Source: Caron et al., Unsupervised learning of visual features by contrasting cluster
    assignments, 2020, https://arxiv.org/abs/2006.09882; the defaults of Warmerdam, Caron, Asano,
    Self-masking networks for unsupervised adaptation, 2024, https://arxiv.org/abs/2409.07577.

    Args:
      prototypes: K.
      dimension: of the embeddings.
      temperature: of the prediction.
      epsilon: of the codes; see `sinkhorn`.
      rounds: of Sinkhorn-Knopp.
      queue: embeddings kept per large view; 0 for no queue.
      queue_from: progress from which the queue is filled, in [0, 1].
      frozen_until: progress before which the prototypes' gradient is zero, in [0, 1]; published is
        one epoch.

    Returns:
      A loss without a teacher; its parameters are `projection` and `prototypes` [K, dimension].

    Raises:
      InputError: a setting is out of its range; or, from `loss`, views have different shapes, or
        there is a teacher.

    Example:
      >>> way = swav(prototypes=3, dimension=2, queue=4)
      >>> parameters = way.init(jax.random.key(0), 5)
      >>> views = jax.random.normal(jax.random.key(1), (3, 4, 5))
      >>> memory = way.memory(parameters, 4)
      >>> loss, memory, metrics = way.loss(parameters, memory, views, None, 0.5)
      >>> memory["queue"].shape, int(memory["filled"])
      ((2, 4, 2), 4)
    """
    check_counts(prototypes=prototypes, dimension=dimension, rounds=rounds)
    check_counts(0, queue=queue)
    check_positive(temperature=temperature, epsilon=epsilon)
    check_shares(queue_from=queue_from, frozen_until=frozen_until)

    def init(key: jax.Array, features: int) -> Parameters:
        first, second = jax.random.split(key)
        directions = jax.random.normal(second, (prototypes, dimension), jnp.float32)
        return {"projection": linear(first, features, dimension), "prototypes": unit(directions)}

    def memory(parameters: Parameters, batch: int) -> Memory:
        if not queue:
            return {}
        dtype = wide(parameters["prototypes"].dtype)
        return {
            "queue": jnp.zeros((2, queue, dimension), dtype),
            "filled": jnp.zeros((), jnp.int32),
        }

    def codes(
        memory: Memory, embeddings: jax.Array, centers: jax.Array, progress: Any
    ) -> tuple[jax.Array, Memory]:
        """Those of the large views, [2, B, K], and the memory with their embeddings [2, B, D]."""
        now = similarities(embeddings, centers)
        if not queue:
            return sinkhorn(now, epsilon, rounds), memory
        earlier = memory["queue"]

        def with_queue() -> jax.Array:
            then = similarities(earlier.astype(now.dtype), centers)
            together = jnp.concatenate([now, then], axis=1)
            return sinkhorn(together, epsilon, rounds)[:, : now.shape[1]]

        begun = progress >= queue_from
        full = begun & (memory["filled"] >= queue)
        found = jax.lax.cond(full, with_queue, lambda: sinkhorn(now, epsilon, rounds))
        newest = jnp.concatenate([embeddings.astype(earlier.dtype), earlier], axis=1)[:, :queue]
        filled = jnp.minimum(memory["filled"] + embeddings.shape[1], queue)
        filled = jnp.where(begun, filled, 0).astype(memory["filled"].dtype)
        return found, like(memory, {"queue": newest, "filled": filled})

    def loss(
        parameters: Parameters,
        memory: Memory,
        views: Sequence[jax.Array],
        teacher: Teacher | None,
        progress: Any,
    ) -> Outcome:
        check_no_teacher(teacher)
        parameters, features = in_one_dtype(parameters, views)
        centers = frozen(parameters["prototypes"], frozen_until, progress)
        embeddings = unit(dense(parameters["projection"], features))
        scores = similarities(embeddings, centers)
        memory, large, fixed = jax.lax.stop_gradient((memory, embeddings[:2], centers))
        targets, memory = codes(memory, large, fixed, progress)
        metrics = {"prototypes_used": share_used(scores[:2]), "spread": spread(large)}
        return between_views(targets, scores / temperature), memory, metrics

    def after(parameters: Parameters) -> Parameters:
        return {**parameters, "prototypes": unit(parameters["prototypes"])}

    return ViewLoss(init, memory, replicated(loss), after)
