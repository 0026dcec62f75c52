"""Initial scores: functions `(key, weights) -> scores`.

Scores have the shapes of the weights, in float32 or wider (bfloat16 weights get float32 scores,
float64 weights float64). Every leaf draws from a key of its own, derived from `key` and the
leaf's path (`split_key`): the same key gives the same scores, and adding a leaf does not
change the others. All raise InputError for a leaf that is not floating point, and the random ones
if `key` is None.
"""

import hashlib
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxmask.errors import InputError
from jaxmask.mask.check import require_floating
from jaxmask.precision import wide, widened
from jaxmask.sharding import automatic
from jaxmask.tree import PyTree, paths

Init = Callable[[jax.Array | None, PyTree], PyTree]


def constant(value: float = 1.0) -> Init:
    """`s = value` everywhere; uses no randomness, `key` may be None.

    Example:
      >>> mask.constant(2.5)(None, {"w": jnp.zeros(3)})["w"].tolist()
      [2.5, 2.5, 2.5]
    """

    def fill(key: None, w: Any) -> jax.Array:
        del key
        # Behind a barrier, or the compiler takes equal constants, laid out differently, for one.
        return lax.optimization_barrier(jnp.full(w.shape, value, wide(w.dtype)))

    full = _laid_out(fill)

    def init(key: jax.Array | None, weights: PyTree) -> PyTree:
        del key
        require_floating(weights, "constant")
        return jax.tree.map(lambda w: full(None, w), weights)

    return init


def normal(std: float = 1.0) -> Init:
    """`s ~ N(0, std^2)`, independently.

    Example:
      >>> mask.normal(0.1)(jax.random.key(0), {"w": jnp.zeros((2, 3))})["w"].shape
      (2, 3)
    """
    return drawn(lambda key, w: std * jax.random.normal(key, w.shape, wide(w.dtype)))


def magnitude() -> Init:
    """`s = |w|`; uses no randomness, `key` may be None.

    Example:
      >>> mask.magnitude()(None, {"w": jnp.array([-3.0, 2.0])})["w"].tolist()
      [3.0, 2.0]
    """

    def init(key: jax.Array | None, weights: PyTree) -> PyTree:
        del key
        require_floating(weights, "magnitude")
        return jax.tree.map(lambda w: jnp.abs(widened(w)), weights)

    return init


def kaiming_uniform(out_axis: int = -1) -> Init:
    """`s ~ U(-b, b)`, `b = sqrt(6 / ((1 + 5) * fan_in)) = 1 / sqrt(fan_in)`.

    Kaiming's uniform distribution with the slope `a = sqrt(5)`, the scores of edge-popup
    (Ramanujan et al. 2020, https://arxiv.org/abs/1911.13299). `fan_in` of a kernel is the product
    of all axes but `out_axis`; of a vector (a bias) its size; of a scalar 1.

    Args:
      out_axis: the axis of the outputs: the last of Flax's kernels `[..., in, out]`, 0 of
        Equinox's and PyTorch's `[out, in, ...]`.

    Example:
      >>> s = mask.kaiming_uniform()(jax.random.key(0), {"w": jnp.zeros((3, 3, 4, 8))})["w"]
      >>> bool(jnp.max(jnp.abs(s)) <= 1 / 6)
      True
    """

    def draw(key: jax.Array, w: Any) -> jax.Array:
        outputs = w.shape[out_axis] if len(w.shape) > 1 else 1
        fan_in = max(math.prod(w.shape) // max(outputs, 1), 1)
        bound = fan_in**-0.5
        return jax.random.uniform(key, w.shape, wide(w.dtype), -bound, bound)

    return drawn(draw)


def shuffled(init: Init) -> Init:
    """The scores of `init`, permuted at random within each leaf.

    Keeps each leaf's distribution and forgets which weight had which score: the control for an
    initialization such as `magnitude`.

    Example:
      >>> s = mask.shuffled(mask.magnitude())(jax.random.key(0), {"w": jnp.arange(5.0)})["w"]
      >>> sorted(s.tolist())
      [0.0, 1.0, 2.0, 3.0, 4.0]
    """

    def draw(key: jax.Array, s: jax.Array) -> jax.Array:
        return jax.random.permutation(key, s.reshape(-1)).reshape(s.shape)

    shuffle = drawn(draw)

    def shuffled_init(key: jax.Array | None, weights: PyTree) -> PyTree:
        if key is None:
            raise InputError("shuffled: a random key is needed; give jax.random.key(seed)")
        # Two keys: the permutation must not depend on what it permutes.
        inner, order = jax.random.split(key)
        return shuffle(order, init(inner, weights))

    return shuffled_init


def split_key(key: jax.Array | None, tree: PyTree) -> PyTree:
    """A random key for every leaf, derived from its path: a tree of keys.

    A leaf's key depends on nothing but `key` and the leaf's own path, so adding or removing
    other leaves does not change it.

    Raises:
      InputError: if `key` is None, or if two leaves share a path.
    """
    if key is None:
        raise InputError("a random key is needed here; give jax.random.key(seed)")
    keys = []
    for path in paths(tree):
        digest = hashlib.sha256(path.encode()).digest()
        # Two words, 64 bits: two paths of one network practically never share a key.
        first, second = (int.from_bytes(digest[at : at + 4], "little") for at in (0, 4))
        keys.append(jax.random.fold_in(jax.random.fold_in(key, first), second))
    return jax.tree.unflatten(jax.tree.structure(tree), keys)


def drawn(draw: Callable[[jax.Array, Any], jax.Array]) -> Init:
    """Initial scores from `draw(key, weight)`, with a key of its own for every leaf."""
    laid_out = _laid_out(draw)

    def init(key: jax.Array | None, weights: PyTree) -> PyTree:
        require_floating(weights, "initial scores")
        keys = split_key(key, weights)
        return jax.tree.map(laid_out, keys, weights)

    return init


def _laid_out(draw: Callable[[Any, Any], jax.Array]) -> Callable[[Any, Any], jax.Array]:
    """`draw(key, weight)`, laid out over the devices as the weight, which may be a mere shape."""

    def traced(key: Any, w: Any) -> jax.Array:
        return automatic(draw, w, key, w)

    compiled = jax.jit(traced)  # so that no device ever holds more than its part

    def made(key: Any, w: Any) -> jax.Array:
        if isinstance(w, jax.ShapeDtypeStruct):
            return draw(key, w)
        return (traced if isinstance(w, jax.core.Tracer) else compiled)(key, w)

    return made
