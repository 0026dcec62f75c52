"""Optimizers of scores: transformations of optax that know what a score is.

Only the ratio of a score's steps to its distance from the threshold decides when its bit flips, so
the right learning rate depends on the size of the gradient, which networks do not share. Either the
gradient is normalized (`normalize_by_leaf`), or normalized and limited by the loss
(`polyak_by_leaf`), or the share of bits that flip is given (`flips`).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxmask import mask
from jaxmask.errors import InputError, check_numbers


class NormalizedState(NamedTuple):
    """Steps done, and the running mean square of every leaf's gradient, a scalar."""

    step: jax.Array
    square: Any


class FlipsState(NamedTuple):
    """Steps done, the momentum, and the flips due, less those done: a number, below 1 if it can."""

    step: jax.Array
    momentum: Any
    due: jax.Array


def normalize_by_leaf(decay: float = 0.99) -> optax.GradientTransformation:
    """Divides a leaf's gradient by the running root mean square of its entries.

    `v := decay * v + (1 - decay) * mean(g^2)`, a number for each leaf, and the update after step t
    is `g / sqrt(v / (1 - decay^t))`. The updates of a leaf have a root mean square of about 1, so
    a learning rate counts in units of the scores, whatever the network, its loss and the leaf:
    multiplying the gradient of any leaf by a constant changes nothing. As in NovoGrad (Ginsburg et
    al. 2019, https://arxiv.org/abs/1905.11286), but by the mean square in place of the sum, so that
    large leaves are not slower. A leaf whose gradients were all zero has no update.

    Args:
      decay: of the running mean, in [0, 1); 0 normalizes every gradient by itself.

    Raises:
      InputError: for a decay outside [0, 1).

    Example:
      >>> rule = normalize_by_leaf()
      >>> gradient = {"w": jnp.array([7.0, -1.0])}
      >>> [round(float(u), 3) for u in rule.update(gradient, rule.init(gradient))[0]["w"]]
      [1.4, -0.2]
    """
    _check_fraction("decay", decay)

    def update(gradient: Any, state: NormalizedState, scores: Any = None) -> Any:
        del scores
        sizes, state = _sizes(gradient, state, decay)
        return jax.tree.map(_divided, gradient, sizes), state

    return optax.GradientTransformation(_no_sizes, update)


def polyak_by_leaf(
    decay: float = 0.99, most: float = 0.01
) -> optax.GradientTransformationExtraArgs:
    """`normalize_by_leaf`, with steps no longer than Polyak's rule allows: a rate that sets itself.

    With r the running size of a leaf's gradient and L the loss of the batch, the update of a leaf
    is `g / r * min(1, L / (most * S))`, where S is the sum of `n * r` over all leaves, n a leaf's
    number of scores. Along gradients of that size, a loss that is linear in the scores falls to 0
    with a step of `L / S`; a learning rate of k * `most` takes at most k such steps (with momentum
    of 0.9 after it, up to ten times as many). So steps are short where little is left to learn, or
    where many weights act together, as in a wide and deep network, which a fixed step in units of
    the scores would throw off. Multiplying the loss by a positive constant changes nothing.

    The gradient must be that of the loss, neither clipped nor normalized before, and the loss must
    be able to fall to 0; one below 0 stops.

    Args:
      decay: of the running mean, in [0, 1).
      most: the learning rate at which a step is at most one of Polyak's, above 0.

    Raises:
      InputError: for a decay outside [0, 1), or `most` not above 0.

    References:
      Loizou et al. 2021, stochastic Polyak steps, https://arxiv.org/abs/2002.10542

    Example:
      >>> rule = polyak_by_leaf(most=1.0)
      >>> gradient = {"w": jnp.array([7.0, -1.0])}
      >>> update, _ = rule.update(gradient, rule.init(gradient), value=5.0)
      >>> [round(float(u), 3) for u in update["w"]]
      [0.7, -0.1]
    """
    _check_fraction("decay", decay)
    check_numbers("most", [most], 0)
    if most == 0:
        raise InputError("most is 0; it must be above 0")

    def update(
        gradient: Any, state: NormalizedState, scores: Any = None, *, value: Any, **_: Any
    ) -> Any:
        del scores
        sizes, state = _sizes(gradient, state, decay)
        slopes = jax.tree.map(lambda g, r: g.size * r, gradient, sizes)
        slope = most * sum(jax.tree.leaves(slopes), jnp.zeros(()))
        whole = slope <= value  # also where both are 0; a NaN stays one
        share = jnp.where(whole, 1, jnp.maximum(value, 0) / jnp.where(whole, 1, slope))
        update = jax.tree.map(lambda g, r: _divided(g, r) * share.astype(g.dtype), gradient, sizes)
        return update, state

    return optax.GradientTransformationExtraArgs(_no_sizes, update)


def _no_sizes(scores: Any) -> NormalizedState:
    square = jax.tree.map(lambda s: jnp.zeros((), s.dtype), scores)
    return NormalizedState(jnp.zeros((), jnp.int32), square)


def _sizes(gradient: Any, state: NormalizedState, decay: float) -> tuple[Any, NormalizedState]:
    """The running root mean square of each leaf's gradient, and the state with it."""
    step = state.step + 1
    square = jax.tree.map(
        lambda v, g: decay * v + (1 - decay) * jnp.sum(jnp.square(g)) / max(g.size, 1),
        state.square,
        gradient,
    )
    sizes = jax.tree.map(lambda v: jnp.sqrt(v / (1 - decay ** step.astype(v.dtype))), square)
    return sizes, NormalizedState(step, square)


def _divided(g: jax.Array, size: jax.Array) -> jax.Array:
    return g * jnp.where(size > 0, 1 / jnp.where(size > 0, size, 1), 0)


def flips(
    learning_rate: float | Callable[[Any], Any],
    momentum: float = 0.9,
    mu: float | tuple[float, ...] = 0.0,
    steps_per_epoch: int = 1,
) -> optax.GradientTransformation:
    """Steps of the size at which a given share of the bits flips: no rate to find.

    `u := momentum * u + g`, and the scores go to `s - eta * u`. `eta`, one number for all leaves
    and new in every step, is the least at which as many scores cross the threshold as are due. In
    each step `learning_rate * N / steps_per_epoch` of the N bits fall due, where the rate is the
    share of bits that flip per epoch; what is less than one, or was flipped too much (equal scores
    cross together), is carried to the next step. Multiplying all scores, `mu` or all gradients by a
    constant changes no mask.

    Args:
      learning_rate: the share of bits to flip per epoch; or a schedule, step -> share.
      momentum: the decay of the sum of gradients, in [0, 1).
      mu: the threshold, or several, of the mask transform.
      steps_per_epoch: training steps per epoch.

    Raises:
      InputError: for a momentum outside [0, 1), or a threshold that is not a number.

    Example:
      >>> rule = flips(0.5)
      >>> scores = {"w": jnp.array([1.0, 1.0, 1.0, 1.0])}
      >>> gradient = {"w": jnp.array([4.0, 3.0, 2.0, -5.0])}
      >>> [round(float(u), 2) for u in rule.update(gradient, rule.init(scores), scores)[0]["w"]]
      [-1.33, -1.0, -0.67, 1.67]
    """
    _check_fraction("momentum", momentum)
    thresholds = mu if isinstance(mu, tuple) else (mu,)
    check_numbers("mu", thresholds)

    def initialize(scores: Any) -> FlipsState:
        zeros = jax.tree.map(jnp.zeros_like, scores)
        return FlipsState(jnp.zeros((), jnp.int32), zeros, jnp.zeros(()))

    def update(gradient: Any, state: FlipsState, scores: Any = None) -> Any:
        rate = learning_rate(state.step) if callable(learning_rate) else learning_rate
        towards = jax.tree.map(lambda u, g: momentum * u + g, state.momentum, gradient)
        size = sum(leaf.size for leaf in jax.tree.leaves(scores))
        due = state.due + rate * size / steps_per_epoch
        eta = _crossing(scores, towards, thresholds, jnp.floor(due).astype(jnp.int32))
        change = jax.tree.map(lambda u: -eta.astype(u.dtype) * u, towards)
        done = _crossed(scores, change, thresholds)
        return change, FlipsState(state.step + 1, towards, due - done)

    return optax.GradientTransformation(initialize, update)


def _crossing(scores: Any, towards: Any, thresholds: tuple[float, ...], count: jax.Array) -> Any:
    """The least eta at which `count` thresholds lie between s and s - eta * u; 0 for none."""

    def reached(s: jax.Array, u: jax.Array) -> jax.Array:
        ahead = jnp.stack([s - mu for mu in thresholds])
        crosses = ahead * u > 0
        # a little beyond: at the threshold itself, a score may count for either side
        return jnp.where(crosses, 1.001 * ahead / jnp.where(crosses, u, 1), jnp.inf)

    etas = jax.tree.map(reached, scores, towards)
    among = jax.tree.map(jnp.isfinite, etas)
    taken = mask.keep_count(jax.tree.map(jnp.negative, etas), count, "global", among=among)
    largest = [
        jnp.max(jnp.where(kept, eta, 0), initial=0)
        for kept, eta in zip(jax.tree.leaves(taken), jax.tree.leaves(etas))
    ]
    return jnp.max(jnp.stack(largest)) if largest else jnp.zeros(())


def _crossed(scores: Any, change: Any, thresholds: tuple[float, ...]) -> jax.Array:
    """How many bits flip."""
    counts = [
        jnp.sum((s > mu) != (s + c > mu), dtype=jnp.int32)
        for s, c in zip(jax.tree.leaves(scores), jax.tree.leaves(change))
        for mu in thresholds
    ]
    return sum(counts, jnp.zeros((), jnp.int32))


def _check_fraction(name: str, value: float) -> None:
    check_numbers(name, [value], 0, 1)
    if value == 1:
        raise InputError(f"{name} is {value}; it must be below 1")
