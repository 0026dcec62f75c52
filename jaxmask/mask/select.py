"""Exact selection: keep exactly k of the highest scores, even with ties, without a sort.

Scores become unsigned integers of the same order. The k-th largest of them is found from the top
bits down: a bit is set if at least k integers are as large as the result. Two bits cost one pass
that compares and counts, over each leaf in place: no sort, no concatenation, and sharded leaves
stay where they are. Only if scores tie at the cut, a second search, over distinct random integers,
chooses among those. The integers of the scores are the only copy made.
"""

import functools
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
from jaxmask.mask.blocks import Block, arrange, by_leaf, offsets, owners, pack, real, unpack
from jaxmask.mask.check import check_scope, require_countable, require_floating
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
        floating point, or 2^31 scores or more that compete.

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
    require_countable(scores, layers, scope)
    sizes = np.array([math.prod(shape) for shape in shapes_of_layers(leaves, layers)])
    wanted = _wanted(count, sizes, scope)
    allowed = None if among is None else align(scores, among, "among")
    if ties == "random" and key is None:
        key = jax.random.key(0)

    def chosen(leaves: Any, wanted: Any, key: Any, allowed: Any) -> list[jax.Array]:
        candidates = None if allowed is None else unstacked(allowed, layers)
        parts = unstacked(lax.stop_gradient(leaves), layers)
        return restacked(_keep(arrange(parts), parts, wanted, key, candidates), leaves, layers)

    given = (leaves, wanted, key if ties == "random" else None, allowed)
    return jax.tree.unflatten(structure, automatic(chosen, leaves, *given))


# Compiled even if the caller is not: outside jit a loop is compiled at every call.
@functools.partial(jax.jit, static_argnums=0)
def _keep(
    blocks: tuple[Block, ...],
    leaves: list[Any],
    wanted: jax.Array,
    key: jax.Array | None,
    allowed: list[Any] | None,
) -> list[jax.Array]:
    # One dtype for all leaves, so that all integers have one order.
    dtype = common(leaves)
    leaves = [jnp.asarray(leaf, dtype) for leaf in leaves]
    if allowed is not None:
        allowed = [jnp.asarray(leaf, bool) for leaf in allowed]
    keys = [_keys(block, leaves, allowed) for block in blocks]
    return unpack(blocks, _largest(blocks, keys, wanted, key))


def _keys(block: Block, leaves: list[jax.Array], allowed: list[jax.Array] | None) -> jax.Array:
    """Integers in the order of the scores, in the rows of a block; 0 for what cannot be chosen."""
    keys = ordered(pack(block, leaves))
    for candidates in (real(block), None if allowed is None else pack(block, allowed)):
        if candidates is not None:
            keys = jnp.where(candidates, keys, keys.dtype.type(0))
    return keys


def _wanted(count: Any, sizes: np.ndarray, scope: str) -> jax.Array:
    """The count of each group of scores that compete, shape (1,) or (leaves,), within bounds."""
    available = sizes.sum(keepdims=True) if scope == "global" else sizes
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


def _largest(
    blocks: tuple[Block, ...], keys: list[jax.Array], wanted: jax.Array, key: jax.Array | None
) -> list[jax.Array]:
    """Chooses exactly `wanted` of the largest keys of each group; equal ones at random with `key`.

    Without a key, the earlier index is chosen. A key of 0 is never chosen.
    """
    order = np.array([index for block in blocks for index in block.leaves])
    sizes = np.array([math.prod(shape) for block in blocks for shape in block.shapes])
    each = wanted.shape == sizes.shape
    # The groups are in the order of the blocks from here.
    wanted = wanted[order] if each else wanted
    everything = jnp.asarray(sizes if each else sizes.sum(keepdims=True), jnp.int32)

    def at_least(cuts: jax.Array, _: Any) -> list[jax.Array]:
        return [k >= cut for k, cut in zip(keys, _spread(cuts, blocks, keys))]

    search = functools.partial(_search, blocks, wanted=wanted)
    cuts, reached = search(at_least, (), everything, keys[0].dtype)
    cuts = jnp.maximum(cuts, cuts.dtype.type(1))

    def break_ties() -> list[jax.Array]:
        # When choosing by index, the words are 0.
        words = jnp.zeros(2, jnp.uint32) if key is None else jax.random.bits(key, (2,), jnp.uint32)

        def ranked_at_least(rank_cuts: jax.Array, words: jax.Array) -> list[jax.Array]:
            ranks = _ranks(blocks, keys, words, key is None, each)
            spread = zip(keys, _spread(cuts, blocks, keys), ranks, _spread(rank_cuts, blocks, keys))
            return [(k > cut) | ((k == cut) & (rank >= least)) for k, cut, rank, least in spread]

        # Ranks are distinct, so this cut leaves no surplus.
        rank_cuts, _ = search(ranked_at_least, words, reached, np.dtype(np.uint32))
        return ranked_at_least(rank_cuts, words)

    return lax.cond(jnp.any(reached > wanted), break_ties, lambda: at_least(cuts, ()))


def _search(
    blocks: tuple[Block, ...],
    at_least: Callable[[jax.Array, Any], list[jax.Array]],
    given: Any,
    reached: jax.Array,
    dtype: np.dtype,
    wanted: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """The largest cut of each group that `wanted` or more keys reach, found from the top bits.

    Stops as soon as exactly `wanted` reach the cut of every group, which happens in every group
    without a tie. Returns a cut for each group, and how many of it reach the cut.

    Args:
      blocks: of which leaves the keys are.
      at_least: which keys reach the cuts, block by block; it also takes `given`.
      given: what at_least makes arrays from, in each pass, so that they are not kept in memory.
      reached: how many of each group reach 0, so all of them.
      dtype: of the keys.
      wanted: int32, shape (groups,): one for the tree, or one for each leaf.
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
        counts = _count(blocks, [at_least(cuts, given) for cuts in candidates], groups)
        for candidate, reaching in zip(candidates, counts):
            enough = reaching >= wanted
            found = jnp.where(enough, candidate, found)
            reached = jnp.where(enough, reaching, reached)
        return shift - 2, found, reached, given

    start = (jnp.int32(8 * dtype.itemsize - 2), jnp.zeros(groups, dtype), reached, given)
    _, found, reached, _ = lax.while_loop(unfinished, set_two_bits, start)
    return found, reached


def _spread(groups: jax.Array, blocks: tuple[Block, ...], keys: list[jax.Array]) -> list[jax.Array]:
    """A value for each row of each block from one per group: of the tree, or of every leaf."""
    if groups.size == 1:
        return [groups[0]] * len(blocks)
    ends = np.cumsum([len(block.leaves) for block in blocks])[:-1]
    return [
        jnp.expand_dims(own[owners(block)] if block.cut else own, tuple(range(1, k.ndim)))
        for own, block, k in zip(jnp.split(groups, ends), blocks, keys)
    ]


def _count(blocks: tuple[Block, ...], sets: list[list[jax.Array]], groups: int) -> list[jax.Array]:
    """How many are True in each set of blocks: int32, shape (groups,)."""
    found = []
    for block, *bits in zip(blocks, *sets):
        ones = [rows.astype(jnp.int32) for rows in bits]
        # In one reduction, which reads the keys once and writes nothing. With several, XLA for CPUs
        # first writes the ones to memory, and takes ten times as long.
        axes = tuple(range(1, ones[0].ndim))
        counts = lax.reduce(ones, [np.int32(0)] * len(ones), _add, axes)
        if groups == 1:
            found.append([jnp.sum(count, dtype=jnp.int32, keepdims=True) for count in counts])
        else:
            found.append([by_leaf(block, count) for count in counts])
    columns = [jnp.concatenate(column) for column in zip(*found)]
    return [jnp.sum(c, dtype=jnp.int32, keepdims=True) for c in columns] if groups == 1 else columns


def _add(a: list[jax.Array], b: list[jax.Array]) -> list[jax.Array]:
    return [x + y for x, y in zip(a, b)]


def _ranks(
    blocks: tuple[Block, ...], keys: list[jax.Array], words: jax.Array, by_index: bool, each: bool
) -> list[jax.Array]:
    """A distinct uint32 for every score of the tree, larger first: by index, or random.

    If leaves compete `each` for itself, for every score of a leaf.
    """
    sizes = {i: math.prod(s) for block in blocks for i, s in zip(block.leaves, block.shapes)}
    before = np.cumsum([0, *(sizes[index] for index in range(len(sizes)))])
    if by_index and each:
        # Otherwise an index of a large tree could pass 2^32, within a leaf.
        before = np.zeros_like(before)
    first, second = words
    result = []
    for block, k in zip(blocks, keys):
        start = before[np.array(block.leaves)][owners(block)] + offsets(block)
        index = first + (start % 2**32).astype(np.uint32)
        # Axis by axis: a reshaped iota is whole on every device, however the leaf is sharded.
        for axis, length in enumerate(k.shape[1:], 2):
            step = np.uint32(math.prod(k.shape[axis:])) * lax.iota(jnp.uint32, length)
            index = index[..., None] + lax.expand_dims(step, range(axis - 1))
        # A bijection of the index, mixed with the words: random, yet no two are equal.
        result.append(~index if by_index else _mix(_mix(index) ^ second))
    return result


def _mix(x: jax.Array) -> jax.Array:
    """The finalizer of MurmurHash3, a bijection of the 32-bit integers."""
    x = (x ^ (x >> 16)) * np.uint32(0x85EBCA6B)
    x = (x ^ (x >> 13)) * np.uint32(0xC2B2AE35)
    return x ^ (x >> 16)
