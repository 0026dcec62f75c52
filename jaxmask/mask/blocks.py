"""Many leaves as a few arrays: what is done to each array is compiled once, not once a leaf.

The leaves of a tree become blocks. A block is an array of rows, and every row belongs to one leaf:
- Large leaves of equal shape are stacked, each a row; a shape of its own is a block without a copy.
  Leaves that are sharded alike stay sharded.
- Many small leaves, of whatever shapes, are cut into rows of `ROW` numbers; the last row of each is
  filled up.
"""

import math
from collections.abc import Collection
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

ROW = 512
# Up to here, a copy costs less than compiling a leaf apart.
SMALL = 2**18
# As few leaves are not copied.
FEW = 8
# What a block holds at most, because its copy is made in memory: leaves, or small leaves' numbers.
STACK = 16
JOINED = 2**22


class Block(NamedTuple):
    """Which leaves of a tree form a block, their shapes, and whether they are cut into rows."""

    leaves: tuple[int, ...]
    shapes: tuple[tuple[int, ...], ...]
    cut: bool


def arrange(leaves: list[Any]) -> tuple[Block, ...]:
    """The blocks of these leaves; each leaf is in one of them."""
    shapes = [tuple(np.shape(leaf)) for leaf in leaves]
    placed = [_sharding(leaf) for leaf in leaves]
    small: dict[int, list[int]] = {}
    large: dict[Any, list[int]] = {}
    before = 0
    for index, (shape, sharding) in enumerate(zip(shapes, placed)):
        # Rows are cut from leaves that are whole: not from one that is known to be sharded.
        if math.prod(shape) < SMALL and sharding is None:
            small.setdefault(before // JOINED, []).append(index)
            before += math.prod(shape)
        else:
            large.setdefault((shape, sharding), []).append(index)
    # No stack is the whole tree, which would be copied whole.
    half = max(-(-sum(map(len, large.values())) // 2), 1)
    groups = [(part, False) for part in _parts(large.values(), min(STACK, half))]
    groups += [(part, len(part) > 1) for part in _parts(small.values(), len(leaves))]
    return tuple(Block(part, tuple(shapes[index] for index in part), cut) for part, cut in groups)


def _parts(groups: Collection[list[int]], most: int) -> list[tuple[int, ...]]:
    """The groups in parts of `most` leaves, or of one if there are few leaves."""
    most = 1 if sum(map(len, groups)) <= FEW else most
    return [tuple(g[first : first + most]) for g in groups for first in range(0, len(g), most)]


def _sharding(leaf: Any) -> Any:
    """How a leaf is divided among devices, as far as can be seen; None: not at all."""
    if isinstance(leaf, jax.core.Tracer):
        sharding = jax.typeof(leaf).sharding
    else:
        sharding = getattr(leaf, "sharding", None)
    return None if sharding is None or sharding.is_fully_replicated else sharding


def pack(block: Block, leaves: list[jax.Array]) -> jax.Array:
    """The rows of a block, from all leaves of the tree; what fills them up is `~real(block)`."""
    own = [leaves[index] for index in block.leaves]
    if not block.cut:
        return own[0][None] if len(own) == 1 else jnp.stack(own)
    # All leaves in one piece, and the rows from there: a pad for each leaf takes longer to compile.
    flat = jnp.concatenate([*(leaf.reshape(-1) for leaf in own), jnp.zeros(ROW, own[0].dtype)])
    before = np.cumsum([0, *_sizes(block)[:-1]])
    start = jnp.asarray(before[owners(block)] + offsets(block), jnp.int32)
    return jax.vmap(lambda at: lax.dynamic_slice(flat, (at,), (ROW,)))(start)


def unpack(blocks: tuple[Block, ...], rows: list[jax.Array]) -> list[jax.Array]:
    """The leaves of the tree, in its order, from the rows of all its blocks."""
    places = _hidden([[jnp.int32(place) for place in _places(block)] for block in blocks])
    found: dict[int, jax.Array] = {}
    cut: dict[int, jax.Array] = {}
    for block, array, starts in zip(blocks, rows, places):
        for index, shape, at in zip(block.leaves, block.shapes, starts):
            if block.cut:
                cut[index] = lax.dynamic_slice(array.reshape(-1), (at,), (math.prod(shape),))
            elif len(block.leaves) == 1:
                found[index] = array[0]
            else:
                found[index] = lax.dynamic_index_in_dim(array, at, keepdims=False)
    shapes = {i: shape for block in blocks for i, shape in zip(block.leaves, block.shapes)}
    # Apart from the slices, a new shape costs nothing; together, loops over more than one axis.
    found |= {index: leaf.reshape(shapes[index]) for index, leaf in _hidden(cut).items()}
    return [found[index] for index in range(len(found))]


def _places(block: Block) -> np.ndarray:
    """Where each leaf begins: its row of a stack, or its first number among the rows cut."""
    return np.cumsum([0, *_rows(block)])[:-1] * (ROW if block.cut else 1)


def _hidden(values: Any) -> Any:
    """The same values, so that the compiler does not know where they come from.

    What takes a leaf out of a block is then one program for all leaves of equal shape, compiled
    once; with numbers that XLA knows, there would be one for each. A loop of one round hides them.
    """
    if not jax.tree.leaves(values):
        return values

    def same(state: Any) -> Any:
        return jnp.bool_(False), lax.optimization_barrier(state[1])

    start = (lax.optimization_barrier(jnp.bool_(True)), values)
    return lax.while_loop(lambda state: state[0], same, start)[1]


def real(block: Block) -> jax.Array | None:
    """Which numbers of the rows are of a leaf; None: all."""
    if not block.cut:
        return None
    left = np.array(_sizes(block))[owners(block)] - offsets(block)
    return lax.iota(jnp.int32, ROW) < np.minimum(left, ROW).astype(np.int32)[:, None]


def owners(block: Block) -> np.ndarray:
    """The leaf that each row is of, counted in the block."""
    return np.repeat(np.arange(len(block.leaves)), _rows(block))


def offsets(block: Block) -> np.ndarray:
    """Where in its leaf each row begins."""
    rows = _rows(block)
    return ROW * (np.arange(sum(rows)) - np.repeat(np.cumsum([0, *rows])[:-1], rows))


def by_leaf(block: Block, counts: jax.Array) -> jax.Array:
    """Sums of int32 counts, one for each leaf of the block from one for each row."""
    if not block.cut:
        return counts
    # The total may wrap around, the differences do not.
    before = jnp.concatenate([jnp.zeros(1, counts.dtype), jnp.cumsum(counts)])
    return jnp.diff(before[np.cumsum([0, *_rows(block)])])


def _sizes(block: Block) -> list[int]:
    return [math.prod(shape) for shape in block.shapes]


def _rows(block: Block) -> list[int]:
    return [-(-size // ROW) for size in _sizes(block)] if block.cut else [1] * len(block.leaves)
