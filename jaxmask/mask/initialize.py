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

from jaxmask.errors import InputError, check_numbers
from jaxmask.mask.axes import Axes, Stated, answers, layers_of
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

    def fill(value: Any, w: Any) -> jax.Array:
        # Behind a barrier, or the compiler takes equal constants, laid out differently, for one.
        return lax.optimization_barrier(jnp.full(w.shape, value, wide(w.dtype)))

    full = _laid_out(fill)

    def init(key: jax.Array | None, weights: PyTree) -> PyTree:
        del key
        require_floating(weights, "constant")
        return jax.tree.map(lambda w: full(value, w), weights)

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


def relative_magnitude(share: float = 1.0, axes: Stated = ()) -> Init:
    """`s = 1 - share + share * |w| / mean|w|`, the mean over the layer: 1 on average.

    The scores of `magnitude` in units of their layer, so that one rate fits all layers and
    networks, and small weights are the nearest to a threshold of 0. A share below 1 mixes them
    with `constant(1.0)`. No randomness; `key` may be None. A layer of zeros gets `1 - share`.

    Args:
      share: of the magnitudes, in [0, 1].
      axes: what the axes of leaves mean, where it is not guessed; see `mask.describe`.

    Raises:
      InputError: for a share outside [0, 1]; by the result, for a leaf that may be one layer or
        several.

    Example:
      >>> mask.relative_magnitude(0.5)(None, {"w": jnp.array([-3.0, 1.0])})["w"].tolist()
      [1.25, 0.75]
    """
    check_numbers("relative_magnitude: share", [share], 0, 1)

    def init(key: jax.Array | None, weights: PyTree) -> PyTree:
        del key
        require_floating(weights, "relative_magnitude")
        leaves, structure = jax.tree.flatten(weights)
        layers = layers_of(weights, axes, "its mean")
        return jax.tree.unflatten(structure, [relative(w, s) for w, s in zip(leaves, layers)])

    def relative(w: jax.Array, stacked: tuple[int, ...]) -> jax.Array:
        size = jnp.abs(widened(w))
        within = tuple(axis for axis in range(size.ndim) if axis not in stacked)
        mean = jnp.mean(size, axis=within, keepdims=True)
        return 1 - share + share * size / jnp.where(mean > 0, mean, 1)

    return init


def kaiming_uniform(out_axis: int | None = None, axes: Stated = ()) -> Init:
    """`s ~ U(-b, b)`, `b = sqrt(6 / ((1 + 5) * fan_in)) = 1 / sqrt(fan_in)`.

    Kaiming's uniform distribution with the slope `a = sqrt(5)`, the scores of edge-popup
    (Ramanujan et al. 2020, https://arxiv.org/abs/1911.13299). `fan_in` of a kernel is the product
    of its inputs and its window; of a vector (a bias) its size; of a scalar 1.

    Args:
      out_axis: the one axis of the outputs, of every leaf; `fan_in` is the product of all others.
        None takes it from `axes`.
      axes: what the axes of leaves mean, where it is not guessed; see `mask.describe`.

    Raises:
      InputError: by the result, for a leaf whose `fan_in` depends on what its axes mean.

    Example:
      >>> s = mask.kaiming_uniform()(jax.random.key(0), {"w": jnp.zeros((3, 3, 4, 8))})["w"]
      >>> bool(jnp.max(jnp.abs(s)) <= 1 / 6)
      True
    """

    def fan_in(found: Axes, shape: tuple[int, ...]) -> int:
        summed = found.inputs + found.window or found.outputs
        if out_axis is not None and len(shape) > 1:
            if not -len(shape) <= out_axis < len(shape):
                raise InputError(f"out_axis={out_axis}; a leaf of shape {shape} has no such axis")
            summed = tuple(set(range(len(shape))) - {out_axis % len(shape)})
        return max(math.prod(shape[axis] for axis in summed), 1)

    def draw(key: jax.Array, w: Any, fan_in: int) -> jax.Array:
        bound = fan_in**-0.5
        return jax.random.uniform(key, w.shape, wide(w.dtype), -bound, bound)

    return drawn(draw, lambda weights: answers(weights, axes, fan_in, "fan_in"))


def shuffled(init: Init, axes: Stated = ()) -> Init:
    """The scores of `init`, permuted at random within each layer.

    Keeps each layer's distribution and forgets which weight had which score: the control for an
    initialization such as `magnitude`. A leaf is one layer, unless it is a stack of them.

    Args:
      init: gives the scores that are permuted.
      axes: what the axes of leaves mean, where it is not guessed; see `mask.describe`.

    Raises:
      InputError: by the result, for a leaf that may be one layer or several.

    Example:
      >>> s = mask.shuffled(mask.magnitude())(jax.random.key(0), {"w": jnp.arange(5.0)})["w"]
      >>> sorted(s.tolist())
      [0.0, 1.0, 2.0, 3.0, 4.0]
    """

    def draw(key: jax.Array, s: jax.Array, layers: tuple[int, ...]) -> jax.Array:
        if not layers:
            return jax.random.permutation(key, s.reshape(-1)).reshape(s.shape)
        front = jnp.moveaxis(s, layers, range(len(layers)))
        rows = front.reshape(math.prod(front.shape[: len(layers)]), -1)
        rows = jax.random.permutation(key, rows, axis=1, independent=True)
        return jnp.moveaxis(rows.reshape(front.shape), range(len(layers)), layers)

    shuffle = drawn(draw, lambda w: layers_of(w, axes, "how it is shuffled"))

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


def drawn(draw: Callable[..., jax.Array], ask: Callable[[PyTree], list[Any]] | None = None) -> Init:
    """Initial scores from `draw`, which takes a leaf's own key and the leaf.

    If there is something to `ask` of the weights, it also takes the leaf's answer.
    """
    laid_out = _laid_out(draw)

    def init(key: jax.Array | None, weights: PyTree) -> PyTree:
        require_floating(weights, "initial scores")
        keys, (leaves, structure) = split_key(key, weights), jax.tree.flatten(weights)
        told = [(each,) for each in ask(weights)] if ask else [()] * len(leaves)
        made = map(laid_out, jax.tree.leaves(keys), leaves, told)
        return jax.tree.unflatten(structure, list(made))

    return init


def _laid_out(draw: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
    """`draw(key, weight, *told)`, laid out over the devices as the weight or the mere shape."""

    def traced(key: Any, w: Any, told: tuple[Any, ...]) -> jax.Array:
        return automatic(lambda key, w: draw(key, w, *told), w, key, w)

    # Compiled, so that no device ever holds more than its part; the weight names the devices.
    compiled = jax.jit(traced, static_argnums=2, keep_unused=True)

    def made(key: Any, w: Any, told: tuple[Any, ...] = ()) -> jax.Array:
        if isinstance(w, jax.ShapeDtypeStruct):
            return draw(key, w, *told)
        return (traced if isinstance(w, jax.core.Tracer) else compiled)(key, w, told)

    return made
