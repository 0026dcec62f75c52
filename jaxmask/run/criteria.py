"""Pruning criteria by the names that configs give them, over a network and its scoring data."""

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxmask import score, tree
from jaxmask.errors import InputError, is_number
from jaxmask.loss import cross_entropy
from jaxmask.train.named import call

MOST_SAMPLES = 100_000


class Subject(NamedTuple):
    """What a criterion is built from: the network without the scored weights.

    Attributes:
      apply: (parameters, batch_stats, images, train) -> (logits, batch_stats).
      rest: the parameters that are not scored.
      batch_stats: the running statistics.
      key: for criteria that draw random numbers.
      image_shape: the shape of one image.
      batch_size: examples to score at a time.
      train: whether batch norms use batch statistics.
    """

    apply: Callable[..., tuple[jax.Array, Any]]
    rest: Any
    batch_stats: Any
    key: jax.Array
    image_shape: tuple[int, ...]
    batch_size: int
    train: bool

    def loss(self, temperature: float = 1.0) -> Callable[..., jax.Array]:
        """(w, images, labels) -> mean cross-entropy of the logits divided by a temperature."""

        def mean_loss(w: Any, images: jax.Array, labels: jax.Array) -> jax.Array:
            parameters = tree.combine(w, self.rest)
            logits, _ = self.apply(parameters, self.batch_stats, images, self.train)
            return cross_entropy(logits / temperature, labels).mean()

        return mean_loss

    def flow(self, statistics: str = "keep") -> Callable[[Any], jax.Array]:
        """w -> logits of an image of ones, everything but w absolute."""
        around = score.absolute({"params": self.rest, "batch_stats": self.batch_stats}, statistics)

        def forward(w: Any) -> jax.Array:
            parameters = tree.combine(w, around["params"])
            dtype = jax.tree.leaves(w)[0].dtype
            ones = jnp.ones((1, *self.image_shape), dtype)
            return self.apply(parameters, around["batch_stats"], ones, False)[0]

        return forward


class Criterion(NamedTuple):
    """A criterion with its settings.

    Attributes:
      name: without settings.
      scorer: a `Subject` -> a scorer of `jaxmask.score`.
      needs_data: whether it is called with images and labels.
      double: whether it needs float64.
      single_examples: whether it takes the gradient of each example by itself.
      sums_training: whether recipes that train before pruning use its sum over training.
    """

    name: str
    scorer: Callable[[Subject], Callable[..., Any]]
    needs_data: bool = True
    double: bool = False
    sums_training: bool = False
    single_examples: bool = False


def _temperature(name: str, value: float) -> float:
    if not is_number(value, 1e-6, 1e6):
        raise InputError(
            f"criterion {name!r}: temperature {value!r}; give a number from 1e-6 to 1e6"
        )
    return float(value)


def of_scorer(scorer: Callable[..., Any]) -> Callable[[], Criterion]:
    """A criterion without settings: a scorer whose arguments the network gives, by their names.

    These are `loss`, `forward`, `key` and `batch_size`. A scorer that takes a loss needs data; one
    that takes a forward pass is computed in float64, in which no product over layers overflows.
    """
    name, wanted = scorer.__name__, inspect.signature(scorer).parameters

    def build(at: Subject) -> Callable[..., Any]:
        givers: dict[str, Callable[[], Any]] = {
            "loss": at.loss,
            "forward": at.flow,
            "key": lambda: at.key,
            "batch_size": lambda: at.batch_size,
        }
        return scorer(**{each: give() for each, give in givers.items() if each in wanted})

    return lambda: Criterion(name, build, needs_data="loss" in wanted, double="forward" in wanted)


def snip(temperature: float = 1.0) -> Criterion:
    """SNIP; the temperature divides the logits."""
    t = _temperature("snip", temperature)
    return Criterion("snip", lambda at: score.snip(at.loss(t), at.batch_size))


def grasp(temperature: float = 1.0, absolute: bool = False) -> Criterion:
    """GraSP; the temperature divides the logits (200 in the published code)."""
    t = _temperature("grasp", temperature)
    if not isinstance(absolute, bool):
        raise InputError(f"criterion 'grasp': absolute {absolute!r}; it must be True or False")
    return Criterion("grasp", lambda at: score.grasp(at.loss(t), at.batch_size, absolute))


def synflow(statistics: str = "keep") -> Criterion:
    """SynFlow, in float64."""
    score.absolute({"params": {}, "batch_stats": {}}, statistics)  # raises for an unknown choice
    return Criterion(
        "synflow", lambda at: score.synflow(at.flow(statistics)), needs_data=False, double=True
    )


def fisher() -> Criterion:
    """Mean squared gradients of single examples, times `w^2`."""
    return Criterion(
        "fisher",
        lambda at: score.fisher(at.loss(), min(at.batch_size, 32)),
        single_examples=True,
    )


def optimal_brain_damage(samples: int = 100) -> Criterion:
    """`h_ii w^2 / 2`, by Hutchinson's estimate from `samples` random vectors."""
    if not isinstance(samples, int) or not is_number(samples, 1, MOST_SAMPLES):
        raise InputError(
            f"criterion 'optimal_brain_damage': samples {samples!r}; give a whole number from 1 to "
            f"{MOST_SAMPLES}"
        )
    return Criterion(
        "optimal_brain_damage",
        lambda at: score.optimal_brain_damage(at.loss(), samples, at.key, at.batch_size),
    )


def movement() -> Criterion:
    """`-w dL/dw` of one step; recipes that train before pruning sum it over training."""
    return Criterion(
        "movement", lambda at: score.movement(at.loss(), at.batch_size), sums_training=True
    )


# those with settings of their own, or with more to say of themselves
_SPECIAL = (fisher, grasp, movement, optimal_brain_damage, snip, synflow)
CRITERIA: dict[str, Callable[..., Criterion]] = {
    **{name: of_scorer(scorer) for name, scorer in score.SCORERS.items()},
    **{each.__name__: each for each in _SPECIAL},
}


def criterion(text: str) -> Criterion:
    """The criterion that a config names, with settings, such as "grasp(temperature=200)".

    Raises:
      InputError: the criterion is unknown, or does not take these settings.
    """
    return call(text, CRITERIA, "criterion")
