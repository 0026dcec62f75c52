"""Pruning criteria by the names that configs give them, over a network and its scoring data."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxmask import score, tree
from jaxmask.errors import InputError, is_number
from jaxmask.loss import cross_entropy
from jaxmask.train.state import labels_of

MOST_SAMPLES = 100_000


class Subject(NamedTuple):
    """What a criterion is built from: the network without the scored weights.

    Attributes:
      apply: (parameters, batch_stats, images, train) -> (logits, batch_stats).
      rest: the parameters that are not scored.
      batch_stats: the running statistics.
      key: for criteria that draw random numbers.
      image_shape: the shape of one image; (L,) for a text.
      batch_size: examples to score at a time.
      train: whether batch norms use batch statistics.
      axes: what the axes of the parameters mean, as `mask.describe` says it.
      origin: the weights before pruning, if pruned ones may come back, else None.
      summed: scores summed over training, for the criteria with `sums_training`, or None.
      passes: called with two names, the weights, and the scores that the first criterion passes on
        to the second one; None outside of an explanation of what went wrong.
      held: the criterion's own arrays, by name; see `Criterion`.
      density: the share of weights that is to be kept in the end; None: not known.
      targets: (images, labels) -> the labels of the logits, and which count; see
        `train.state.Problem`.
    """

    apply: Callable[..., tuple[jax.Array, Any]]
    rest: Any
    batch_stats: Any
    key: jax.Array
    image_shape: tuple[int, ...]
    batch_size: int
    train: bool
    axes: Any = ()
    origin: Any = None
    summed: Any = None
    passes: Callable[[str, str, Any, Any], None] | None = None
    held: Mapping[str, Any] = {}
    density: Any = None
    targets: Callable[[jax.Array, jax.Array], tuple[jax.Array, jax.Array | None]] = labels_of

    def loss(self, temperature: float = 1.0) -> Callable[..., jax.Array]:
        """(w, images, labels) -> mean cross-entropy of the logits divided by a temperature.

        Where words are predicted, it is the mean over them.
        """

        def mean_loss(w: Any, images: jax.Array, labels: jax.Array) -> jax.Array:
            parameters = tree.combine(w, self.rest)
            logits, _ = self.apply(parameters, self.batch_stats, images, self.train)
            labels, counted = self.targets(images, labels)
            losses = cross_entropy(logits / temperature, labels)
            if counted is None:
                return losses.mean()
            return jnp.where(counted, losses, 0).sum() / jnp.maximum(counted.sum(), 1)

        return mean_loss

    def flow(self, statistics: str = "keep") -> Callable[[Any], jax.Array]:
        """w -> logits of an image of ones, everything but w absolute.

        Raises:
          InputError: the network takes token ids. With ones in place of their embeddings all
            tokens are equal, so that no flow depends on queries and keys, and none is positive
            behind a layer norm.
        """
        if len(self.image_shape) == 1:
            raise InputError(
                "synflow begins at an image of ones, and token ids have no such input: with equal "
                "tokens, no flow goes through queries and keys; take a criterion of data, as snip"
            )
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
      sums_training: whether recipes that train before pruning use its sum over training.
      single_examples: whether it takes the gradient of each example by itself.
      revives: whether pruned weights may come back at later shots.
      everywhere: whether it scores pruned weights, whose `origin` it is given, as well.
      parts: the criteria that it is composed of.
      weights: whether it gives weights in place of scores, half of them below 0.
      held: arrays from a file, by the fingerprint of what it holds: arguments of compiled programs,
        in which the scorer finds them as `Subject.held`.
    """

    name: str
    scorer: Callable[[Subject], Callable[..., Any]]
    needs_data: bool = True
    double: bool = False
    sums_training: bool = False
    single_examples: bool = False
    revives: bool = False
    everywhere: bool = False
    parts: "tuple[Criterion, ...]" = ()
    weights: bool = False
    held: Mapping[str, Any] = {}


def _temperature(name: str, value: float) -> float:
    if not is_number(value, 1e-6, 1e6):
        raise InputError(
            f"criterion {name!r}: temperature {value!r}; give a number from 1e-6 to 1e6"
        )
    return float(value)


def _check_truth(name: str, setting: str, value: Any) -> None:
    if not isinstance(value, bool):
        raise InputError(f"criterion {name!r}: {setting} {value!r}; it must be True or False")


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


def magnitude() -> Criterion:
    """`|w|`; of the original weights, where pruned ones may come back."""

    def build(at: Subject) -> Callable[..., Any]:
        if at.origin is None:
            return score.magnitude()
        return lambda w, *batch: score.magnitude()(at.origin)

    return Criterion("magnitude", build, needs_data=False, everywhere=True)


def snip(temperature: float = 1.0, revive: bool = False) -> Criterion:
    """SNIP; the temperature divides the logits.

    With `revive`, pruned weights have scores too, `|w_0 dL/dw|` by their original values w_0, and
    come back at a later shot if these are high enough, as in the published many-shot SNIP. It makes
    no difference in one shot.
    """
    t = _temperature("snip", temperature)
    _check_truth("snip", "revive", revive)
    return Criterion(
        "snip(revive=True)" if revive else "snip",
        lambda at: score.snip(at.loss(t), at.batch_size, at.origin if revive else None),
        revives=revive,
        everywhere=revive,
    )


def grasp(temperature: float = 1.0, absolute: bool = False) -> Criterion:
    """GraSP; the temperature divides the logits (200 in the published code)."""
    t = _temperature("grasp", temperature)
    _check_truth("grasp", "absolute", absolute)
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

    def build(at: Subject) -> Callable[..., Any]:
        if at.summed is None:
            return score.movement(at.loss(), at.batch_size)
        return lambda w, *batch: at.summed

    return Criterion("movement", build, sums_training=True)


# those with settings of their own, or with more to say of themselves
_SPECIAL = (fisher, grasp, magnitude, movement, optimal_brain_damage, snip, synflow)
CRITERIA: dict[str, Callable[..., Criterion]] = {
    **{name: of_scorer(scorer) for name, scorer in score.SCORERS.items()},
    **{each.__name__: each for each in _SPECIAL},
}
