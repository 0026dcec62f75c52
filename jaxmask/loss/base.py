"""What a loss of unlabeled images is: functions of the features of several views of each image."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax

Parameters = dict[str, Any]  # nested dict of arrays
Memory = dict[str, jax.Array]
Teacher = tuple[Parameters, Sequence[jax.Array]]
Outcome = tuple[jax.Array, Memory, dict[str, jax.Array]]


class ViewLoss(NamedTuple):
    """A loss of several views of the same unlabeled images, as pure functions of arrays.

    A view is another crop, flip and coloring of every image of a batch. What is learned on top of
    the features is learned with the network and thrown away afterwards. The batch is the whole
    batch, however its axis is split over devices. All is computed in float32 or wider.

    Attributes:
      init: (key, features) -> parameters, a nested dict of float32 arrays for features of that
        size: projection, prototypes, ...
      memory: (parameters, batch) -> what steps hand on and nothing learns, such as a queue or a
        center, for batches of that size; {} if there is none.
      loss: (parameters, memory, views, teacher, progress) -> (loss, memory, metrics). `views` are
        arrays [B, F], at least two; the first two are of the large views. `teacher` is None,
        or the teacher's parameters and its features of the two large views. `progress` is the
        number of steps done over that of all, in [0, 1]. The loss is a scalar, a mean over
        examples; so are the metrics, which tell of a collapse.
      after: parameters -> parameters, for after every step of the optimizer.
      momentum: progress -> the share of itself that the teacher keeps in a step, an average of
        the learned weights; None if there is no teacher.

    Example:
      >>> from jaxmask.loss import simclr
      >>> way = simclr(dimension=8)
      >>> parameters = way.init(jax.random.key(0), 5)
      >>> views = jax.random.normal(jax.random.key(1), (2, 4, 5))
      >>> loss, memory, metrics = way.loss(parameters, {}, views, None, 0.0)
      >>> loss.shape, memory, sorted(metrics)
      ((), {}, ['matched', 'spread'])
    """

    init: Callable[[jax.Array, int], Parameters]
    memory: Callable[[Parameters, int], Memory]
    loss: Callable[[Parameters, Memory, Sequence[jax.Array], Teacher | None, Any], Outcome]
    after: Callable[[Parameters], Parameters]
    momentum: Callable[[Any], jax.Array] | None = None
