"""Exact selection: keep exactly k of the highest scores, even with ties, without a sort.

Scores become unsigned integers of the same order. The k-th largest of them is found from the top
bits down: a bit is set if at least k integers are as large as the result. Two bits cost one pass
that compares and counts, over each leaf in place: no sort, no concatenation, and sharded leaves
stay where they are. Only if scores tie at the cut, a second search, over distinct random integers,
chooses among those. The integers of the scores are the only copy made.
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
from jaxmask.mask.axes import Stated
from jaxmask.mask.check import check_scope, require_floating
from jaxmask.mask.order import ordered
from jaxmask.mask.stack import layers_by_scope, restacked, shapes_of_layers, unstacked
from jaxmask.precision import common
from jaxmask.sharding import automatic
from jaxmask.tree import PyTree, align

TIES = ("random", "index")


def keep_top(
    scores: PyTree,
    density: Any,
    scope: str = "global",
    ties: str = "random",
    key: jax.Array | None = None,
    axes: Stated = (),
) -> PyTree:
    """Keeps exactly the share `density` of the highest scores.

    `N - floor((1 - density) * N)` are kept, exactly, even if many scores are equal. -0.0 equals
    0.0, -inf is a number, and a NaN is never kept ahead of a number.

    Args:
      scores: a tree of floating-point arrays; higher means keep.
      density: share kept, in (0, 1], in exact decimal; traced: see `mask.allocate`.
      scope: `"global"`, `"layer"` or `"erk"`, as in `mask.allocate`.
      ties: `"random"` chooses among equal scores with `key`, `"index"` the earlier index (of
        the leaf, or of the whole tree in the order of `jax.tree.leaves`).
      key: for ties; None is a fixed key, so that the call is deterministic.
      axes: what the axes of leaves mean, where it is not guessed; see `mask.describe`. Scopes
        `"layer"` and `"erk"` count each of stacked layers.

    Returns:
      A tree of bool with the shapes of `scores`.

    Raises:
      InputError: for a density outside (0, 1], an unknown scope or ties, scores that are not
        floating point, or 2^31 scores or more.

    Example:
      >>> mask.keep_top({"a": jnp.array([3.0, 1.0, 2.0, 0.0])}, 0.5)["a"].tolist()
      [True, False, True, False]
    """
    return keep_count(scores, allocate(scores, density, scope, axes), scope, ties, key, axes=axes)


def keep_count(
    scores: PyTree,
    count: Any,
    scope: str = "global",
    ties: str = "random",
    key: jax.Array | None = None,
    among: PyTree | None = None,
    axes: Stated = (),
) -> PyTree:
    """Keeps exactly the `count` highest scores; `keep_top` with precomputed counts.

    The count is an ordinary array: counts come from `mask.allocate` on the host, one per shot of
    a schedule, and another count never recompiles.

    Args:
      scores: a tree of floating-point arrays; higher means keep.
      count: integers, shape () for `"global"`; for `"layer"` and `"erk"` one per layer in the
        order of `jax.tree.leaves`, or one for every layer. A traced count is clipped to the
        number of scores.
      scope: whether scores compete in the whole tree or in each layer.
      ties: as in `keep_top`.
      key: as in `keep_top`.
      among: a tree of bool: only these may be kept, whatever their scores; fewer than `count`
        are kept if there are fewer. None: all.
      axes: as in `keep_top`.

    Returns:
      A tree of bool with the shapes of `scores`.

    Raises:
      InputError: as `keep_top`; for a count of the wrong shape or dtype; for a count, not traced,
        that is negative or exceeds the number of scores; for another structure of `among`.

    Example:
      >>> mask.keep_count({"a": jnp.zeros(3)}, 2, ties="index")["a"].tolist()
      [True, True, False]
    """
    check_scope(scope)
    if ties not in TIES:
        raise InputError(f"unknown ties {ties!r}; give 'random' or 'index'")
    require_floating(scores, "scores")
    leaves, structure = jax.tree.flatten(scores)
    if not leaves:
        return scores
    layers = layers_by_scope(scores, scope, axes)
    sizes = np.array([math.prod(shape) for shape in shapes_of_layers(leaves, layers)])
    wanted = _wanted(count, sizes, scope)
    allowed = None if among is None else align(scores, among, "among")
    if ties == "random" and key is None:
        key = jax.random.key(0)

    def chosen(leaves: Any, wanted: Any, key: Any, allowed: Any) -> list[jax.Array]:
        candidates = None if allowed is None else unstacked(allowed, layers)
        found = _keep(unstacked(lax.stop_gradient(leaves), layers), wanted, key, candidates)
        return restacked(found, leaves, layers)

    given = (leaves, wanted, key if ties == "random" else None, allowed)
    return jax.tree.unflatten(structure, automatic(chosen, leaves, *given))


# Compiled even if the caller is not: outside jit a loop is compiled at every call.
@jax.jit
def _keep(
    leaves: list[Any], wanted: jax.Array, key: jax.Array | None, allowed: list[Any] | None
) -> list[jax.Array]:
    # One dtype for all leaves, so that all integers have one order.
    dtype = common(leaves)
    keys = [ordered(jnp.asarray(leaf, dtype)) for leaf in leaves]
    if allowed is None:
        return _largest(keys, wanted, key)
    allowed = [jnp.asarray(leaf, bool) for leaf in allowed]
    # 0 is below every score's key, even NaN's.
    keys = [jnp.where(ok, k, k.dtype.type(0)) for ok, k in zip(allowed, keys)]
    chosen = _largest(keys, wanted, key)
    return [ok & bit for ok, bit in zip(allowed, chosen)]


def _wanted(count: Any, sizes: np.ndarray, scope: str) -> jax.Array:
    """The count of each group of scores that compete, shape (1,) or (leaves,), within bounds."""
    available = sizes.sum(keepdims=True) if scope == "global" else sizes
    if available.sum() >= 2**31:
        raise InputError(f"a tree of {sizes.sum()} scores; selection supports fewer than 2^31")
    traced = isinstance(count, jax.core.Tracer)
    count = count if traced else np.asarray(count)
    shapes = [()] if scope == "global" else [(), sizes.shape]
    if count.shape not in shapes or not jnp.issubdtype(count.dtype, jnp.integer):
        raise InputError(
            f"a count of shape {count.shape} and dtype {count.dtype} for scope {scope!r}; "
            f"give integers of shape {' or '.join(map(str, shapes))}"
        )
    if not traced and ((count < 0) | (count > available)).any():
        raise InputError(f"count {count.tolist()} of {available.tolist()} scores; give at most all")
    counts = jnp.broadcast_to(jnp.clip(count, 0, available), available.shape)
    return counts.astype(jnp.int32)


def _largest(keys: list[jax.Array], wanted: jax.Array, key: jax.Array | None) -> list[jax.Array]:
    """Chooses exactly `wanted` of the largest keys of each group; equal ones at random with `key`.

    Without a key, the earlier index is chosen.
    """

    def at_least(cuts: list[jax.Array], _: Any) -> list[jax.Array]:
        return [k >= cut for k, cut in zip(keys, cuts)]

    sizes = np.array([k.size for k in keys], np.int32)
    everything = sizes if wanted.shape == sizes.shape else sizes.sum(keepdims=True)
    all_reach = jnp.asarray(everything, jnp.int32)
    cuts, reached = _search(at_least, (), wanted, all_reach, keys[0].dtype, len(keys))

    def break_ties() -> list[jax.Array]:
        # When choosing by index, the words are 0.
        words = jnp.zeros(2, jnp.uint32) if key is None else jax.random.bits(key, (2,), jnp.uint32)

        def ranked_at_least(rank_cuts: list[jax.Array], words: jax.Array) -> list[jax.Array]:
            ranks = _ranks([k.shape for k in keys], words, by_index=key is None)
            return [
                (k > cut) | ((k == cut) & (rank >= rank_cut))
                for k, cut, rank, rank_cut in zip(keys, cuts, ranks, rank_cuts)
            ]

        # Ranks are distinct, so this cut leaves no surplus.
        dtype = np.dtype(np.uint32)
        rank_cuts, _ = _search(ranked_at_least, words, wanted, reached, dtype, len(keys))
        return ranked_at_least(rank_cuts, words)

    return lax.cond(jnp.any(reached > wanted), break_ties, lambda: at_least(cuts, ()))


def _search(
    at_least: Callable[[list[jax.Array], Any], list[jax.Array]],
    given: Any,
    wanted: jax.Array,
    reached: jax.Array,
    dtype: np.dtype,
    leaves: int,
) -> tuple[list[jax.Array], jax.Array]:
    """The largest cut of each group that `wanted` or more keys reach, found from the top bits.

    Stops as soon as exactly `wanted` reach the cut of every group, which happens in every group
    without a tie. Returns a cut for each leaf, and how many of each group reach it.

    Args:
      at_least: which keys reach a cut for each leaf; it also takes `given`.
      given: what at_least makes arrays from, in each pass, so that they are not kept in memory.
      wanted: int32, shape (groups,).
      reached: how many of each group reach 0, so all of them.
      dtype: of the keys.
      leaves: how many there are.
    """
    groups = wanted.shape[0]

    def unfinished(state: Any) -> jax.Array:
        shift, _, reached, _ = state
        return (shift >= 0) & jnp.any(reached != wanted)

    def set_two_bits(state: Any) -> Any:
        shift, found, reached, given = state
        # Otherwise the compiler moves what depends on nothing else out of the loop, and stores it.
        given = lax.optimization_barrier(given)
        candidates = [found | (dtype.type(two) << shift.astype(dtype)) for two in (1, 2, 3)]
        counts = _count([at_least(_spread(cut, leaves), given) for cut in candidates], groups)
        for candidate, reaching in zip(candidates, counts):
            enough = reaching >= wanted
            found = jnp.where(enough, candidate, found)
            reached = jnp.where(enough, reaching, reached)
        return shift - 2, found, reached, given

    start = (jnp.int32(8 * dtype.itemsize - 2), jnp.zeros(groups, dtype), reached, given)
    _, found, reached, _ = lax.while_loop(unfinished, set_two_bits, start)
    return _spread(found, leaves), reached


def _spread(groups: jax.Array, leaves: int) -> list[jax.Array]:
    """A value for each leaf from one per group: the tree is one group, or every leaf is one."""
    return [groups[index % groups.shape[0]] for index in range(leaves)]


def _count(sets: list[list[jax.Array]], groups: int) -> list[jax.Array]:
    """How many are True in each set of leaves: int32, shape (groups,)."""
    by_leaf = []
    for bits in zip(*sets):
        ones = [leaf.astype(jnp.int32) for leaf in bits]
        # In one reduction, which reads the keys once and writes nothing. With several, XLA for CPUs
        # first writes the ones to memory, and takes ten times as long.
        axes = tuple(range(bits[0].ndim))
        by_leaf.append(lax.reduce(ones, [np.int32(0)] * len(ones), _add, axes))
    counts = [jnp.stack(column) for column in zip(*by_leaf)]
    if groups == len(by_leaf):
        return counts
    return [jnp.sum(count, dtype=jnp.int32, keepdims=True) for count in counts]


def _add(a: list[jax.Array], b: list[jax.Array]) -> list[jax.Array]:
    return [x + y for x, y in zip(a, b)]


def _ranks(shapes: list[tuple[int, ...]], words: jax.Array, by_index: bool) -> list[jax.Array]:
    """A distinct uint32 for every score of the tree, larger first: by index, or random."""
    first, second = words
    start = 0
    result = []
    for shape in shapes:
        # Axis by axis: a reshaped iota is whole on every device, however the leaf is sharded.
        index = first + np.uint32(start)
        for axis, length in enumerate(shape):
            after = shape[axis + 1 :]
            step = np.uint32(math.prod(after)) * lax.iota(jnp.uint32, length)
            index = index[..., None] + lax.expand_dims(step, range(axis))
        start += math.prod(shape)
        # A bijection of the index, mixed with the words: random, yet no two are equal.
        result.append(~index if by_index else _mix(_mix(index) ^ second))
    return result


def _mix(x: jax.Array) -> jax.Array:
    """The finalizer of MurmurHash3, a bijection of the 32-bit integers."""
    x = (x ^ (x >> 16)) * np.uint32(0x85EBCA6B)
    x = (x ^ (x >> 13)) * np.uint32(0xC2B2AE35)
    return x ^ (x >> 16)
