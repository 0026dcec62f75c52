"""A training problem (`Problem`), and the state carried from step to step (`State`)."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

Tree = Any


class Problem(NamedTuple):
    """The functions that define a training problem; all pure and jittable.

    Attributes:
      parameters: (learned, frozen) -> parameters of the network; both are dicts of trees.
      masks: (learned, frozen) -> tree of masks, for the density; {} if none are learned.
      network: (parameters, batch_stats, images, train) -> (logits [B, C], batch_stats).
      augment: (key or None, uint8 images [B, H, W, C]) -> float images; None for evaluation.
      loss: (logits [B, C], labels [B]) -> [B], minimized in training.
    """

    parameters: Callable[[Tree, Tree], Tree]
    masks: Callable[[Tree, Tree], Tree]
    network: Callable[[Tree, Tree, jax.Array, bool], tuple[jax.Array, Tree]]
    augment: Callable[[jax.Array | None, jax.Array], jax.Array]
    loss: Callable[[jax.Array, jax.Array], jax.Array]


class Sums(NamedTuple):
    """Metrics summed on the device over examples: loss (nats), correct answers, examples."""

    loss: jax.Array
    correct: jax.Array
    examples: jax.Array

    @classmethod
    def zero(cls) -> "Sums":
        """The sums over no examples."""
        return cls(jnp.zeros(()), jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32))

    def means(self) -> dict[str, float]:
        """`loss` and `accuracy` as numbers on the host."""
        loss, correct, examples = (each.item() for each in jax.device_get(self))
        count = max(examples, 1)
        return {"loss": loss / count, "accuracy": correct / count}


class State(NamedTuple):
    """All that changes during training; donated from one compiled scan to the next.

    Attributes:
      step: int32, steps done.
      key: uint32, the key data of the run's random key; step k uses `fold_in(key, k)`.
      learned: dict of trees with holes, by group, such as "scores" and "train".
      batch_stats: the network's running statistics.
      optimizer: optax's state.
      sums: metrics of the current epoch's training batches.
    """

    step: jax.Array
    key: jax.Array
    learned: dict[str, Tree]
    batch_stats: Tree
    optimizer: Any
    sums: Sums


def initial(
    learned: dict[str, Tree],
    batch_stats: Tree,
    optimizer: optax.GradientTransformation,
    key: jax.Array,
) -> State:
    """The state before the first step. Takes copies, since a state's arrays are donated."""
    copy = jax.tree.map(lambda leaf: jnp.array(leaf, copy=True), (learned, batch_stats))
    return State(
        step=jnp.zeros((), jnp.int32),
        key=jnp.array(jax.random.key_data(key), copy=True),
        learned=copy[0],
        batch_stats=copy[1],
        optimizer=optimizer.init(copy[0]),
        sums=Sums.zero(),
    )
