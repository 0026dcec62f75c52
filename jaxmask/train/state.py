"""A training problem (`Problem`), and the state carried from step to step (`State`)."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

Tree = Any
# of a classifier: sums of its loss (nats) and its correct answers
MEASURED = {"loss": jnp.float32, "accuracy": jnp.int32}
COUNTED = "counted"  # among the totals of a batch: of how many predictions, if not one an example


def labels_of(inputs: Any, labels: jax.Array) -> tuple[jax.Array, None]:
    """The labels that a classifier is to predict: one an example, all counted."""
    return labels, None


class Problem(NamedTuple):
    """The functions that define a training problem; all pure and jittable.

    Attributes:
      parameters: (learned, frozen) -> parameters of the network; both are dicts of trees.
      masks: (learned, frozen) -> tree of masks, for the density; {} if none are learned.
      network: (parameters, batch_stats, images, train) -> (logits [B, C], batch_stats).
      augment: (key or None, uint8 images [B, H, W, C]) -> float images, or whatever `network` takes
        for images; None for evaluation.
      objective: (learned, frozen, Carried, Batch) -> (loss, (Carried, totals)): what training
        minimizes, a mean over the batch; `totals` are sums over its examples, by name.
      after: learned -> learned, after every step.
      measured: the names of the totals, "loss" among them, and their dtypes.
      targets: (what `augment` returns, labels) -> the labels of the logits, and which of them
        count, bool; None: all do. Logits and both may have more axes: [B, K, C], [B, K].
    """

    parameters: Callable[[Tree, Tree], Tree]
    masks: Callable[[Tree, Tree], Tree]
    network: Callable[[Tree, Tree, Any, bool], tuple[jax.Array, Tree]]
    augment: Callable[[jax.Array | None, jax.Array], Any]
    objective: Callable[["Tree", "Tree", "Carried", "Batch"], tuple[jax.Array, Any]]
    after: Callable[[dict[str, Tree]], dict[str, Tree]] = lambda learned: learned
    measured: Mapping[str, Any] = MEASURED
    targets: Callable[[Any, jax.Array], tuple[jax.Array, jax.Array | None]] = labels_of


class Carried(NamedTuple):
    """What a step hands to the next one, and no optimizer changes.

    Attributes:
      batch_stats: the network's running statistics.
      memory: of the loss, such as a queue; None if it has none.
    """

    batch_stats: Tree
    memory: Tree


class Batch(NamedTuple):
    """A step's input: uint8 images [B, H, W, C], labels [B], a key, and steps done (int32)."""

    images: jax.Array
    labels: jax.Array
    key: jax.Array
    step: jax.Array


class Sums(NamedTuple):
    """Metrics summed on the device over examples: totals by name, such as "loss" (nats)."""

    totals: dict[str, jax.Array]
    examples: jax.Array

    @classmethod
    def zero(cls, measured: Mapping[str, Any] = MEASURED) -> "Sums":
        """The sums over no examples."""
        totals = {name: jnp.zeros((), dtype) for name, dtype in measured.items()}
        return cls(totals, jnp.zeros((), jnp.int32))

    def plus(self, totals: Mapping[str, jax.Array], examples: Any) -> "Sums":
        """The sums with those over more examples, in the dtypes of the former."""
        added = {
            name: total + jnp.asarray(totals[name], jnp.result_type(total))
            for name, total in self.totals.items()
        }
        return Sums(added, self.examples + examples)

    def means(self) -> dict[str, float]:
        """The means over the examples, as numbers on the host."""
        totals, examples = jax.device_get((self.totals, self.examples))
        return {name: total.item() / max(examples.item(), 1) for name, total in totals.items()}


class State(NamedTuple):
    """All that changes during training; donated from one compiled scan to the next.

    Attributes:
      step: int32, steps done.
      key: uint32, the key data of the run's random key; step k uses `fold_in(key, k)`.
      learned: dict of trees with holes, by group, such as "scores" and "train".
      carried: the network's running statistics, and the loss's memory.
      optimizer: optax's state.
      sums: metrics of the current epoch's training batches.
    """

    step: jax.Array
    key: jax.Array
    learned: dict[str, Tree]
    carried: Carried
    optimizer: Any
    sums: Sums

    @property
    def batch_stats(self) -> Tree:
        """The network's running statistics."""
        return self.carried.batch_stats


def initial(
    learned: dict[str, Tree],
    batch_stats: Tree,
    optimizer: optax.GradientTransformation,
    key: jax.Array,
    memory: Tree = None,
    measured: Mapping[str, Any] = MEASURED,
) -> State:
    """The state before the first step. Takes copies, since a state's arrays are donated."""
    carried = Carried(batch_stats, memory)
    copy = jax.tree.map(lambda leaf: jnp.array(leaf, copy=True), (learned, carried))
    return State(
        step=jnp.zeros((), jnp.int32),
        key=jnp.array(jax.random.key_data(key), copy=True),
        learned=copy[0],
        carried=copy[1],
        optimizer=optimizer.init(copy[0]),
        sums=Sums.zero(measured),
    )
