"""Masks of more than two values, and the bits that they are stored as."""

from collections.abc import Sequence
from itertools import pairwise

import jax
import jax.numpy as jnp

from jaxmask.errors import InputError, check_numbers
from jaxmask.mask.check import require_floating
from jaxmask.mask.initialize import Init, constant
from jaxmask.mask.straight_through import straight_through
from jaxmask.mask.transform import MaskTransform, unscaled
from jaxmask.tree import PyTree, named_leaves, nested

PLANE = "above_"  # of a mask's value, by its index


def levels(
    values: Sequence[float] = (-1.0, 0.0, 1.0),
    thresholds: Sequence[float] = (-1.0, 0.0),
    init: Init = constant(1.0),  # noqa: B008 (a pure function, safe to share)
) -> MaskTransform:
    """`m = values[k]`, where k of the thresholds are below the score; no rescaling.

    A score that passes a threshold moves its weight's factor by one value; the gradient is
    straight-through. By default the mask is ternary, and scores start at 1: at 0 a weight is off,
    at -1 its sign has turned. With the values (0.5, 1, 1.5), thresholds (-1, 1) and scores from 0,
    weights may grow as well as shrink.

    Args:
      values: of the mask, ascending.
      thresholds: ascending, one fewer.
      init: the initial scores.

    Raises:
      InputError: for fewer than two values, or values and thresholds that do not ascend or fit.

    References:
      Li et al. 2016, ternary weight networks, https://arxiv.org/abs/1605.04711

    Example:
      >>> mask.levels().mask({"w": jnp.array([1.0, -0.5, -2.0])})["w"].tolist()
      [1.0, 0.0, -1.0]
    """
    values, thresholds = _ascending("values", values), _ascending("thresholds", thresholds)
    if len(values) < 2 or len(thresholds) != len(values) - 1:
        raise InputError(
            f"levels: {len(values)} values and {len(thresholds)} thresholds; give at least two "
            "values, and one threshold fewer"
        )

    def hard(s: jax.Array) -> jax.Array:
        found = jnp.full(s.shape, values[0], s.dtype)
        for mu, value in zip(thresholds, values[1:]):
            found = jnp.where(s > mu, jnp.asarray(value, s.dtype), found)
        return found

    def mask(scores: PyTree) -> PyTree:
        require_floating(scores, "scores")
        return jax.tree.map(lambda s: straight_through(s, hard(s)), scores)

    def apply(scores: PyTree, weights: PyTree) -> PyTree:
        return unscaled(mask(scores), weights)

    return MaskTransform(init, mask, apply, unscaled, values)


def planes(masks: PyTree, values: Sequence[float]) -> PyTree:
    """Masks of levels as bits: of each leaf a dict of `m > v`, for every v but the highest.

    Example:
      >>> bits = mask.planes({"w": jnp.array([1.0, 0.0])}, (-1.0, 0.0, 1.0))
      >>> {name: plane.tolist() for name, plane in bits["w"].items()}
      {'above_0': [True, True], 'above_1': [True, False]}
    """

    def split(m: jax.Array) -> dict[str, jax.Array]:
        low = values[:-1]
        return {f"{PLANE}{index}": m > jnp.asarray(v, m.dtype) for index, v in enumerate(low)}

    return jax.tree.map(split, masks)


def from_planes(bits: PyTree, values: Sequence[float]) -> dict[str, PyTree]:
    """Masks of levels from their `planes`: nested dicts of float32, by path.

    Raises:
      InputError: for planes that are not those of masks of these values.

    Example:
      >>> bits = mask.planes({"w": jnp.array([1.0, 0.0])}, (-1.0, 0.0, 1.0))
      >>> mask.from_planes(bits, (-1.0, 0.0, 1.0))["w"].tolist()
      [1.0, 0.0]
    """
    values = _ascending("values", values)
    named = named_leaves(bits)
    paths = sorted({path.rpartition("/")[0] for path in named})
    wanted = [f"{path}/{PLANE}{index}" for path in paths for index in range(len(values) - 1)]
    if sorted(named) != sorted(wanted):
        other = sorted(set(named) ^ set(wanted))[0]
        raise InputError(f"{other!r} is not of the bits of a mask of {len(values)} values")
    for path in paths:
        shapes = {jnp.shape(named[f"{path}/{PLANE}{k}"]) for k in range(len(values) - 1)}
        if len(shapes) > 1:
            raise InputError(f"the bits of the mask of {path!r} have shapes {sorted(shapes)}")

    def joined(path: str) -> jax.Array:
        # selected, not summed: the values come back exactly
        found = jnp.full(jnp.shape(named[f"{path}/{PLANE}0"]), values[0], jnp.float32)
        for index, value in enumerate(values[1:]):
            found = jnp.where(jnp.asarray(named[f"{path}/{PLANE}{index}"]) > 0, value, found)
        return found

    return nested({path: joined(path) for path in paths})


def _ascending(name: str, numbers: Sequence[float]) -> tuple[float, ...]:
    found = tuple(numbers) if isinstance(numbers, tuple | list) else ()
    check_numbers(f"levels: {name}", found)
    if not found or any(a >= b for a, b in pairwise(found)):
        raise InputError(f"levels: {name} {numbers!r}; give numbers that ascend")
    return found
