"""Masks as transformations of trees: scores -> mask -> masked weights."""

import functools
import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxmask.mask.axes import Stated, layers_of
from jaxmask.mask.check import (
    check_density,
    check_mu,
    check_rescale,
    check_scope,
    require_floating,
)
from jaxmask.mask.initialize import Init, constant, kaiming_uniform
from jaxmask.mask.select import keep_top
from jaxmask.mask.slope import Slope
from jaxmask.mask.straight_through import straight_through
from jaxmask.precision import wide, widened
from jaxmask.sharding import automatic
from jaxmask.tree import PyTree, align

Rescale = bool | Literal["constant"]


class MaskTransform(NamedTuple):
    """Pure functions of trees, in the style of optax.

    Attributes:
      init: (key, weights) -> scores, float32 or wider, with the weights' structure.
      mask: (scores) -> mask, of {0, 1} (or {-1, 1}) in the scores' dtype. Its gradient is
        straight-through: `dL/ds := dL/dm`.
      apply: (scores, weights) -> masked weights in the weights' dtype, differentiable in both.
        Raises InputError if structures or shapes differ.
      put: (masks, weights) -> masked weights, for masks that may also be bool: `put(mask(scores),
        weights)` is `apply(scores, weights)`. It applies stored masks; only a transform whose
        masks are never stored may have None.
      values: of a mask with more than two, or others than those above, such as `levels`; it is
        stored as the bits of `planes`, and has no share of weights that are simply on.

    Example:
      >>> tx = mask.threshold(rescale=False)
      >>> weights = {"kernel": jnp.array([1.0, 2.0, 3.0])}
      >>> scores = tx.init(None, weights)
      >>> tx.apply(jax.tree.map(lambda s: s.at[0].set(-1), scores), weights)["kernel"].tolist()
      [0.0, 2.0, 3.0]
    """

    init: Init
    mask: Callable[[PyTree], PyTree]
    apply: Callable[[PyTree, PyTree], PyTree]
    put: Callable[[PyTree, PyTree], PyTree] | None = None
    values: tuple[float, ...] = ()


def threshold(
    mu: Any = 0.0,
    init: Init = constant(1.0),  # noqa: B008 (a pure function, safe to share)
    rescale: Rescale = True,
    axes: Stated = (),
    slope: Slope | None = None,
) -> MaskTransform:
    """`m = 1[s > mu]` (Piggyback, Mallya et al. 2018; self-masking networks).

    A layer of N weights becomes `theta * m / alpha` with `alpha = sqrt(sum(m) / N)`, which keeps
    the scale of its output; a leaf is one layer, unless it is a stack of them. A layer whose mask
    is all zero becomes zeros, with alpha = 1 and no gradient through it, so `dL/dm = theta * g` and
    its weights can come back.
    Computed in float32 or wider. A NaN score is off.
    In float16 and float8, `theta / alpha` may pass the largest number.

    Adding a constant to the initial scores and to `mu`, or multiplying both and SGD's learning
    rate by a positive constant, changes no mask at any step.

    Args:
      mu: the threshold, a number or a traced scalar; no gradient flows to it.
      init: the initial scores.
      rescale: True divides by alpha and differentiates through it, as published; `"constant"`
        treats alpha as a constant; False does not divide.
      axes: what the axes of leaves mean, where it is not guessed; see `mask.describe`.
      slope: how much of the mask's gradient a score gets, by its distance from the threshold:
        `mask.clipped` or `mask.sigmoid`; None is all of it.

    Raises:
      InputError: for another `rescale`, or a `mu` that is not a number; by `apply`, if it rescales,
        for a leaf that may be one layer or several.

    References:
      Mallya et al. 2018, https://arxiv.org/abs/1801.06519

    Example:
      >>> tx = mask.threshold()
      >>> tx.mask({"w": jnp.array([-0.5, 0.5])})["w"].tolist()
      [0.0, 1.0]
      >>> tx.apply({"w": jnp.array([-1.0, 1.0, -1.0, -1.0])}, {"w": jnp.ones(4)})["w"].tolist()
      [0.0, 2.0, 0.0, 0.0]
    """
    check_mu(mu)
    soft = None if slope is None else lambda s: slope(s - mu)
    hard = functools.partial(jax.tree.map, lambda s: s > mu)
    return _transform(init, hard, rescale, axes, soft)


def top_k(
    density: Any,
    scope: str = "layer",
    init: Init = kaiming_uniform(),  # noqa: B008
    rescale: Rescale = True,
    axes: Stated = (),
) -> MaskTransform:
    """`m = 1[s among the top share]` (edge-popup, Ramanujan et al. 2020).

    Exactly the fraction `density` of the scores is on, as by `mask.keep_top` with a fixed key for
    ties. Rescaled as in `threshold`.

    Args:
      density: the fraction that is on, in (0, 1], or a traced scalar; no gradient flows to it.
      scope: `"layer"`, `"global"` or `"erk"`, as in `mask.allocate`.
      init: the initial scores.
      rescale: as in `threshold`.
      axes: what the axes of leaves mean, where it is not guessed; see `mask.describe`.

    Raises:
      InputError: for another `rescale`, an unknown scope, or a density outside (0, 1].

    References:
      Ramanujan et al. 2020, https://arxiv.org/abs/1911.13299

    Example:
      >>> mask.top_k(0.5).mask({"w": jnp.array([0.3, 0.1, 0.4, 0.2])})["w"].tolist()
      [1.0, 0.0, 1.0, 0.0]
    """
    check_scope(scope)
    if not isinstance(density, jax.core.Tracer):
        check_density(density)

    def hard(scores: PyTree) -> PyTree:
        return keep_top(scores, density, scope, axes=axes)

    return _transform(init, hard, rescale, axes)


def sign(
    mu: Any = 0.0,
    init: Init = kaiming_uniform(),  # noqa: B008
) -> MaskTransform:
    """`m = +1 if s > mu else -1`: keeps every weight and learns its sign; no rescaling.

    The binary weights of BinaryConnect (Courbariaux et al. 2015) on top of frozen magnitudes,
    with the same straight-through gradient.

    Args:
      mu: the threshold, a number or a traced scalar; no gradient flows to it.
      init: the initial scores.

    Raises:
      InputError: for a `mu` that is not a number.

    References:
      Courbariaux et al. 2015, https://arxiv.org/abs/1511.00363

    Example:
      >>> scores, weights = {"w": jnp.array([-0.5, 0.5])}, {"w": jnp.array([2.0, 3.0])}
      >>> mask.sign().apply(scores, weights)["w"].tolist()
      [-2.0, 3.0]
    """
    check_mu(mu)

    def hard(scores: PyTree) -> PyTree:
        return jax.tree.map(lambda s: jnp.where(s > mu, 1, -1), scores)

    return _transform(init, hard, rescale=False)


def rescaled(masks: PyTree, weights: PyTree, axes: Stated = ()) -> PyTree:
    """`theta * m / alpha` for every layer, `alpha = sqrt(mean(m))`: the `put` of `threshold`.

    Args:
      masks: a tree of {0, 1} or bool, with the paths of `weights`.
      weights: a tree of floating-point arrays.
      axes: what the axes of leaves mean, where it is not guessed; see `mask.describe`.

    Raises:
      InputError: if structures or shapes differ; for a leaf that may be one layer or several.

    Example:
      >>> mask.rescaled({"w": jnp.array([True, False])}, {"w": jnp.array([1.0, 3.0])})["w"].round(3)
      Array([1.414, 0.   ], dtype=float32)
    """
    return _put(masks, weights, True, axes)


def unscaled(masks: PyTree, weights: PyTree) -> PyTree:
    """`theta * m` for every leaf: the `put` of `sign`, and of `threshold(rescale=False)`.

    Args:
      masks: a tree of {0, 1}, {-1, 1} or bool, with the paths of `weights`.
      weights: a tree of floating-point arrays.

    Raises:
      InputError: if structures or shapes differ.

    Example:
      >>> mask.unscaled({"w": jnp.array([-1, 1])}, {"w": jnp.array([2.0, 3.0])})["w"].tolist()
      [-2.0, 3.0]
    """
    return _put(masks, weights, rescale=False)


def masked(mask: jax.Array, weight: jax.Array, rescale: Rescale = True) -> jax.Array:
    """One layer of masked weights, `theta * m / alpha` as in `threshold`, in the weight's dtype.

    Example:
      >>> mask.masked(jnp.array([1.0, 0, 0, 0]), jnp.array([3.0, 5.0, 5.0, 5.0])).tolist()
      [6.0, 0.0, 0.0, 0.0]
    """
    product = widened(weight) * widened(mask)
    if rescale:
        total = _count(mask)
        some = total > 0
        # Both branches are guarded: the root's gradient at 0 is infinite, and inf * 0 is NaN.
        # 1 / alpha, because a product over the whole leaf is cheaper than a quotient.
        size = jnp.asarray(max(mask.size, 1), total.dtype)
        scale = jnp.sqrt(jnp.where(some, size, 1) / jnp.where(some, total, 1))
        if rescale == "constant":
            scale = lax.stop_gradient(scale)
        product = _scaled(product, scale)
    return product.astype(weight.dtype)


@jax.custom_jvp
def _count(mask: jax.Array) -> jax.Array:
    """The sum of a mask of zeros and ones."""

    # First in groups of at most 32, as integers: on a CPU, XLA fuses these sums and the computation
    # of the mask into one parallel loop; for a sum of floats, or a longer one, it would write out
    # the mask. Groups of strided elements, because loops over these are vectorized.
    def count(mask: jax.Array) -> jax.Array:
        groups = mask.reshape(math.gcd(mask.size, 32), -1)
        counts = jnp.sum(groups, axis=0, dtype=jnp.int32)
        return jnp.sum(counts, dtype=wide(mask.dtype))

    return automatic(count, None, mask)


@_count.defjvp
def _count_jvp(primals: Any, tangents: Any) -> Any:
    # Integers have no gradient; this is that of the plain sum.
    total = _count(*primals)
    return total, jnp.sum(tangents[0], dtype=total.dtype)


@jax.custom_jvp
def _scaled(product: jax.Array, scale: jax.Array) -> jax.Array:
    """`product * scale`, for a scalar `scale` above 0."""
    return product * scale


@_scaled.defjvp
def _scaled_jvp(primals: Any, tangents: Any) -> Any:
    # The scale's tangent from the result, which the network keeps anyway, not from the product,
    # which would be kept (on a CPU: written out) only for this.
    scaled = _scaled(*primals)
    return scaled, tangents[0] * primals[1] + scaled * (tangents[1] / primals[1])


def _transform(
    init: Init,
    hard: Callable[[PyTree], PyTree],
    rescale: Rescale,
    axes: Stated = (),
    soft: Callable[[jax.Array], jax.Array] | None = None,
) -> MaskTransform:
    """A transform from the hard masks of a tree, differentiated as the soft ones of its leaves."""
    check_rescale(rescale)

    def mask(scores: PyTree) -> PyTree:
        require_floating(scores, "scores")
        softer = scores if soft is None else jax.tree.map(soft, scores)
        return jax.tree.map(straight_through, softer, hard(scores))

    def apply(scores: PyTree, weights: PyTree) -> PyTree:
        return _put(mask(scores), weights, rescale, axes)

    by_axes = functools.partial(rescaled, axes=axes) if axes else rescaled
    return MaskTransform(init, mask, apply, by_axes if rescale else unscaled)


def _put(masks: PyTree, weights: PyTree, rescale: Rescale, axes: Stated = ()) -> PyTree:
    require_floating(weights, "weights")
    aligned = align(weights, masks, "masks for these weights")
    leaves, structure = jax.tree.flatten(weights)
    layers = layers_of(weights, axes, "rescaling") if rescale else [()] * len(leaves)
    found = []
    for m, w, stacked in zip(aligned, map(jnp.asarray, leaves), layers):
        if not jnp.issubdtype(jnp.result_type(m), jnp.floating):
            m = jnp.asarray(m, wide(w.dtype))  # stored as bits
        put = functools.partial(masked, rescale=rescale)
        for axis in stacked:  # each layer has an alpha of its own
            put = jax.vmap(put, axis, axis)
        found.append(put(m, w))
    return jax.tree.unflatten(structure, found)
