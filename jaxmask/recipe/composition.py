"""How a network's parameters come from what is learned and what is frozen."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxmask import mask, tree
from jaxmask.mask import MaskTransform, pruned, selective

Learned = dict[str, Any]
Frozen = dict[str, Any]


class Composition(NamedTuple):
    """The pure functions of a method.

    Both take `learned` and `frozen`, dicts of trees with holes. Learned are "mask" (scores) and
    "train" (weights), for some methods "low_rank" (factors) or "density" (a falling one). Frozen
    are "mask" (the weights that scores mask or factors change) and "freeze" (all others);
    "selected" (which scores are trainable) where not all are; "kept" (bool, None for leaves that
    are whole) where trained weights are pruned; "density" where it is a constant.

    Attributes:
      weights: (learned, frozen) -> parameters of the network.
      masks: (learned, frozen) -> tree of masks; empty where none are learned.
      falling_epochs: how long "density" falls.
    """

    weights: Callable[[Learned, Frozen], Any]
    masks: Callable[[Learned, Frozen], Any]
    falling_epochs: float = 0.0


def _trained(learned: Learned, frozen: Frozen) -> Any:
    kept = frozen.get("kept")
    return pruned(kept, learned["train"]) if kept is not None else learned["train"]


def _plain(learned: Learned, frozen: Frozen) -> Any:
    return tree.combine(frozen["mask"], _trained(learned, frozen), frozen["freeze"])


PLAIN = Composition(_plain, lambda learned, frozen: {})


def masked(transform: Callable[[Any], MaskTransform], falling_epochs: float = 0.0) -> Composition:
    """Frozen weights under learned masks.

    Args:
      transform: density -> the transform; the density is None for a method that has none, and
        traced for one that has, so that another density recompiles nothing.
      falling_epochs: how long the density falls, if it does.
    """

    def now(learned: Learned, frozen: Frozen) -> MaskTransform:
        density = learned["density"]["now"] if "density" in learned else frozen.get("density")
        made = transform(density)
        return selective(made, frozen["selected"]) if "selected" in frozen else made

    def weights(learned: Learned, frozen: Frozen) -> Any:
        under = now(learned, frozen).apply(learned["mask"], frozen["mask"])
        return tree.combine(under, _trained(learned, frozen), frozen["freeze"])

    def masks(learned: Learned, frozen: Frozen) -> Any:
        return now(learned, frozen).mask(learned["mask"])

    return Composition(weights, masks, falling_epochs)


def low_rank(scale: float) -> Composition:
    """Frozen kernels plus learned updates of low rank, `w + scale * a b`.

    LoRA (Hu et al. 2022, https://arxiv.org/abs/2106.09685). A kernel [..., in, out] has factors
    a [..., in, r] and b [r, out]; a convolution's a is a convolution to r channels, its b a 1x1.
    """

    def weights(learned: Learned, frozen: Frozen) -> Any:
        changed = jax.tree.map(
            lambda weight, factors: weight + scale * jnp.tensordot(factors["a"], factors["b"], 1),
            frozen["mask"],
            learned["low_rank"],
        )
        return tree.combine(changed, _trained(learned, frozen), frozen["freeze"])

    return Composition(weights, lambda learned, frozen: {})


def low_rank_factors(key: jax.Array, weights: Any, rank: int) -> Any:
    """Factors for a tree of kernels: a uniform in +-1 / sqrt(fan in), b zero: no update yet."""
    shapes = jax.tree.map(lambda w: jax.ShapeDtypeStruct((*w.shape[:-1], rank), w.dtype), weights)
    return jax.tree.map(
        lambda w, a: {"a": a, "b": jnp.zeros((rank, w.shape[-1]), w.dtype)},
        weights,
        mask.kaiming_uniform()(key, shapes),
    )
