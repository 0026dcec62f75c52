"""Exact selection: keep so many of the highest scores, ties and all, without a sort.

Scores become unsigned integers of the same order. The k-th largest of them is found bit by bit:
a bit is set if at least k integers are as large as what that gives. Each bit costs one pass that
compares and counts, over each leaf where it lies: no sort, no concatenation, and sharded leaves
stay where they are. Only if scores tie at the cut, a second search, over random integers of which
no two are equal, chooses among those.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxmask.errors import InputError
from jaxmask.mask.allocate import allocate
from jaxmask.mask.check import check_scope, require_floating
from jaxmask.tree import PyTree, align

TIES = ("random", "index")


def keep_top(
    scores: PyTree,
    density: Any,
    scope: str = "global",
    ties: str = "random",
    key: jax.Array | None = None,
) -> PyTree:
    """Keeps exactly the share `density` of the highest scores.

    `N - floor((1 - density) * N)` are kept, exactly, also when many scores are equal. -0.0 equals
    0.0, -inf is a number, and a NaN is never kept ahead of a number.

    Args:
      scores: a tree of floating-point arrays; higher means keep.
      density: share kept, in (0, 1], in exact decimal; traced: see `mask.allocate`.
      scope: `"global"`, `"layer"` or `"erk"`, as in `mask.allocate`.
      ties: `"random"` chooses among equal scores with `key`, `"index"` the earlier index (of
        the leaf, or of the whole tree in the order of `jax.tree.leaves`).
      key: for ties; None is a fixed key, so that the call is deterministic.

    Returns:
      A tree of bool with the shapes of `scores`.

    Raises:
      InputError: for a density outside (0, 1], an unknown scope or ties, scores that are not
        floating point, or 2^31 scores or more.

    Example:
      >>> mask.keep_top({"a": jnp.array([3.0, 1.0, 2.0, 0.0])}, 0.5)["a"].tolist()
      [True, False, True, False]
    """
    return keep_count(scores, allocate(scores, density, scope), scope, ties, key)


def keep_count(
    scores: PyTree,
    count: Any,
    scope: str = "global",
    ties: str = "random",
    key: jax.Array | None = None,
    among: PyTree | None = None,
) -> PyTree:
    """Keeps exactly the `count` highest scores; `keep_top` with the counts worked out before.

    The count is an ordinary array: counts come from `mask.allocate` on the host, one per shot of
    a schedule, and another count never recompiles.

    Args:
      scores: a tree of floating-point arrays; higher means keep.
      count: integers, shape () for `"global"`; for `"layer"` and `"erk"` one per leaf in the
        order of `jax.tree.leaves`, or one for every leaf. A traced count is clipped to what
        there is.
      scope: whether scores compete in the whole tree or in each leaf.
      ties: as in `keep_top`.
      key: as in `keep_top`.
      among: a tree of bool: only these may be kept, whatever their scores; fewer than `count`
        are kept if there are fewer. None: all.

    Returns:
      A tree of bool with the shapes of `scores`.

    Raises:
      InputError: as `keep_top`; for a count of another shape or dtype; for a count, not traced,
        that is negative or more than there are scores; for another structure of `among`.

    Example:
      >>> mask.keep_count({"a": jnp.zeros(3)}, 2, ties="index")["a"].tolist()
      [True, True, False]
    """
    check_scope(scope)
    if ties not in TIES:
        raise InputError(f"ties {ties!r}; one of 'random', 'index'")
    require_floating(scores, "scores")
    leaves, structure = jax.tree.flatten(scores)
    if not leaves:
        return scores
    sizes = np.array([math.prod(np.shape(leaf)) for leaf in leaves])
    wanted = _wanted(count, sizes, scope)
    allowed = None if among is None else align(scores, among, "among")
    if ties == "random" and key is None:
        key = jax.random.key(0)
    chosen = _keep(lax.stop_gradient(leaves), wanted, key if ties == "random" else None, allowed)
    return jax.tree.unflatten(structure, chosen)


# Compiled even where the caller does not: outside jit a loop is compiled at every call.
@jax.jit
def _keep(
    leaves: list[Any], wanted: jax.Array, key: jax.Array | None, allowed: list[Any] | None
) -> list[jax.Array]:
    # One type for all leaves, so that all integers have one order.
    dtype = jnp.result_type(*leaves)
    keys = [_ordered(jnp.asarray(leaf, dtype)) for leaf in leaves]
    if allowed is None:
        return _largest(keys, wanted, lambda: _tie_breakers(leaves, key))
    allowed = [jnp.asarray(leaf, bool) for leaf in allowed]
    # 0 is below every score's key, NaN's too.
    keys = [jnp.where(ok, k, k.dtype.type(0)) for ok, k in zip(allowed, keys)]
    chosen = _largest(keys, wanted, lambda: _tie_breakers(leaves, key))
    return [ok & bit for ok, bit in zip(allowed, chosen)]


def _wanted(count: Any, sizes: np.ndarray, scope: str) -> jax.Array:
    """The count of each group of scores that compete, shape (1,) or (leaves,), within bounds."""
    available = sizes.sum(keepdims=True) if scope == "global" else sizes
    if available.sum() >= 2**31:
        raise InputError(f"a tree of {sizes.sum()} scores; selection counts fewer than 2^31")
    traced = isinstance(count, jax.core.Tracer)
    count = count if traced else np.asarray(count)
    shapes = [()] if scope == "global" else [(), sizes.shape]
    if count.shape not in shapes or not jnp.issubdtype(count.dtype, jnp.integer):
        raise InputError(
            f"a count of shape {count.shape} and dtype {count.dtype} for scope {scope!r}; "
            f"give integers of shape {' or '.join(map(str, shapes))}"
        )
    if not traced and ((count < 0) | (count > available)).any():
        raise InputError(f"count {count.tolist()} of {available.tolist()} scores; at most all")
    counts = jnp.broadcast_to(jnp.clip(count, 0, available), available.shape)
    return counts.astype(jnp.int32)


def _ordered(x: jax.Array) -> jax.Array:
    """Unsigned integers in the order of the numbers; NaN is 1, below all numbers; 0 is free."""
    if jnp.finfo(x.dtype).bits < 16:
        x = x.astype(jnp.float32)
    info = jnp.finfo(x.dtype)
    unsigned = np.dtype(f"uint{info.bits}").type
    sign = unsigned(1 << (info.bits - 1))
    infinity = unsigned(np.array(np.inf, x.dtype).view(unsigned))
    bits = lax.bitcast_convert_type(x, unsigned)
    # On the bits, for the compiler may take x + 0 for x, or a subnormal for 0.
    is_nan = (bits & ~sign) > infinity
    bits = jnp.where(bits == sign, unsigned(0), bits)
    return jnp.where(is_nan, unsigned(1), jnp.where(bits >= sign, ~bits, bits | sign))


def _largest(
    keys: list[jax.Array], wanted: jax.Array, tie_breakers: Callable[[], list[jax.Array]]
) -> list[jax.Array]:
    """Chooses exactly `wanted` of the largest keys of each group, equal ones by tie_breakers."""

    def at_least(cuts: list[jax.Array]) -> list[jax.Array]:
        return [k >= cut for k, cut in zip(keys, cuts)]

    cuts, surplus = _search(at_least, wanted, keys[0].dtype, len(keys))

    def break_ties() -> list[jax.Array]:
        above = [k > cut for k, cut in zip(keys, cuts)]
        level = [k == cut for k, cut in zip(keys, cuts)]
        missing = wanted - _count(above, wanted.shape[0])
        ranks = tie_breakers()

        def level_at_least(cuts: list[jax.Array]) -> list[jax.Array]:
            return [tie & (rank >= cut) for tie, rank, cut in zip(level, ranks, cuts)]

        # Ranks are distinct, so this cut leaves no surplus.
        rank_cuts, _ = _search(level_at_least, missing, ranks[0].dtype, len(keys))
        return [a | b for a, b in zip(above, level_at_least(rank_cuts))]

    return lax.cond(jnp.any(surplus > 0), break_ties, lambda: at_least(cuts))


def _search(
    at_least: Callable[[list[jax.Array]], list[jax.Array]],
    wanted: jax.Array,
    dtype: np.dtype,
    leaves: int,
) -> tuple[list[jax.Array], jax.Array]:
    """The largest cut of each group that `wanted` or more keys reach, found from the top bit.

    Stops as soon as exactly `wanted` reach the cut of every group, which happens in every group
    without a tie. Returns a cut for each leaf, and for each group how many too many reach it.
    """
    groups = wanted.shape[0]

    def count(found: jax.Array) -> jax.Array:
        return _count(at_least(_spread(found, leaves)), groups)

    def unfinished(state: tuple) -> jax.Array:
        bit, _, reached = state
        return (bit > 0) & jnp.any(reached != wanted)

    def set_bit(state: tuple) -> tuple:
        bit, found, reached = state
        candidate = found | bit
        reaching = count(candidate)
        enough = reaching >= wanted
        found = jnp.where(enough, candidate, found)
        return bit >> 1, found, jnp.where(enough, reaching, reached)

    lowest = jnp.zeros(groups, dtype)
    top_bit = jnp.array(1 << (jnp.iinfo(dtype).bits - 1), dtype)
    state = lax.while_loop(unfinished, set_bit, (top_bit, lowest, count(lowest)))
    return _spread(state[1], leaves), state[2] - wanted


def _spread(groups: jax.Array, leaves: int) -> list[jax.Array]:
    """A value for each leaf from one per group: the tree is one group, or every leaf is one."""
    return [groups[index % groups.shape[0]] for index in range(leaves)]


def _count(bits: list[jax.Array], groups: int) -> jax.Array:
    """int32 counts, shape (groups,)."""
    counts = [jnp.sum(leaf, dtype=jnp.int32) for leaf in bits]
    return jnp.stack(counts) if groups == len(bits) else jnp.stack([sum(counts)])


def _tie_breakers(leaves: list[Any], key: jax.Array | None) -> list[jax.Array]:
    """A distinct uint32 for every score of the tree, larger first: random, or by index."""
    if key is not None:
        first, second = jax.random.bits(key, (2,), jnp.uint32)
    start = 0
    result = []
    for leaf in leaves:
        shape = np.shape(leaf)
        index = np.uint32(start) + lax.iota(jnp.uint32, math.prod(shape)).reshape(shape)
        start += math.prod(shape)
        # A bijection of the index, mixed with the key: random, and yet no two are equal.
        result.append(~index if key is None else _mix(_mix(index + first) ^ second))
    return result


def _mix(x: jax.Array) -> jax.Array:
    """The finaliser of MurmurHash3, a bijection of the 32-bit integers."""
    x = (x ^ (x >> 16)) * np.uint32(0x85EBCA6B)
    x = (x ^ (x >> 13)) * np.uint32(0xC2B2AE35)
    return x ^ (x >> 16)
