"""Input checks: what may be masked, and with which settings."""

import math
import operator
from collections.abc import Iterable
from fractions import Fraction
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxmask.errors import InputError
from jaxmask.tree import PyTree, is_floating, named_leaves, paths

SCOPES = ("global", "layer", "erk")


def require_floating(tree: PyTree, what: str) -> None:
    """Raises InputError, naming the path, if a leaf of `tree` is not a floating-point array."""
    if all(is_floating(leaf) for leaf in jax.tree.leaves(tree)):
        return
    for path, leaf in named_leaves(tree).items():
        if not is_floating(leaf):
            kind = getattr(leaf, "dtype", type(leaf).__name__)
            raise InputError(
                f"{what}: {path!r} is {kind}, not a floating-point array; "
                "leave it out with tree.partition"
            )


def refuse_signs(masks: PyTree, why: str) -> None:
    """Raises InputError, naming the path, for a mask that is known, not traced, and holds -1."""
    for index, leaf in enumerate(jax.tree.leaves(masks)):
        known = not isinstance(leaf, jax.core.Tracer)
        if known and jnp.result_type(leaf) != jnp.bool_ and (np.asarray(leaf) < 0).any():
            raise InputError(f"the mask of {paths(masks)[index]!r} is of signs, {why}")


def check_scope(scope: str) -> None:
    """Raises InputError if the scope is unknown."""
    if not isinstance(scope, str) or scope not in SCOPES:
        raise InputError(f"unknown scope {scope!r}; give one of {', '.join(map(repr, SCOPES))}")


def require_countable(tree: PyTree, layers: list[tuple[int, ...]], scope: str) -> None:
    """Raises InputError if 2^31 or more compete: of the tree if "global", else of one layer."""
    shapes = [np.shape(leaf) for leaf in jax.tree.leaves(tree)]
    sizes = {
        path: math.prod(length for axis, length in enumerate(shape) if axis not in stacked)
        for path, shape, stacked in zip(paths(tree), shapes, layers)
    }
    total = sum(sizes.values())
    if scope == "global" and total >= 2**31:
        raise InputError(
            f"a tree of {total} weights, of which fewer than 2^31 can compete; "
            "give scope='layer' or 'erk', in which those of each leaf compete"
        )
    for path, size in sizes.items():
        if size >= 2**31:
            raise InputError(
                f"{path!r} has {size} weights, of which fewer than 2^31 can compete; split the leaf"
            )


def check_density(density: Any, name: str = "density") -> Fraction:
    """A density that is not traced, as an exact fraction; InputError if it is not in (0, 1]."""
    try:
        # The str of an array scalar is the shortest decimal that gives it: 0.1 for float32 too.
        exact = Fraction(str(np.asarray(density)[()]))
    except (TypeError, ValueError, ZeroDivisionError):
        exact = Fraction(0)
    if not 0 < exact <= 1:
        raise InputError(f"{name} {density!r}; give the share of weights kept, in (0, 1]")
    return exact


def integers(values: Iterable[Any], name: str) -> tuple[int, ...]:
    """Settings as Python integers; InputError for anything else, such as a traced number."""
    try:
        return tuple(operator.index(value) for value in values)
    except TypeError:
        raise InputError(f"{name} {values!r}; give integers, not traced") from None


def check_rescale(rescale: Any) -> None:
    """Raises InputError unless `rescale` is True, "constant" or False."""
    if rescale is not True and rescale is not False and rescale != "constant":
        raise InputError(f"unknown rescale {rescale!r}; give one of True, 'constant', False")


def check_mu(mu: Any) -> None:
    """Raises InputError unless a threshold is one number, or a traced scalar."""
    if isinstance(mu, jax.core.Tracer):
        number = mu.ndim == 0
    else:
        value = np.asarray(mu)
        number = value.ndim == 0 and jnp.issubdtype(value.dtype, jnp.number) and value == value
    if not number:
        raise InputError(f"mu {mu!r}; give the threshold, one number")
