"""Leaves in blocks: every leaf once, packed and unpacked as it was, chosen as if it were alone."""

import collections
import math
import types

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxmask import mask
from jaxmask.mask import blocks

SHAPES = [(), (0, 3), (7,), (512,), (33, 17), (16, 16), (5, 3, 4), (700,), (40, 40), (40, 40)]
LIMITS = {"FEW": 2, "SMALL": 900, "STACK": 3, "JOINED": 2500}


@pytest.fixture
def limits(monkeypatch):
    """Blocks of every kind, of trees that are small."""
    for name, value in LIMITS.items():
        monkeypatch.setattr(blocks, name, value)


def leaves(seed, number, levels=None):
    rng = np.random.default_rng(seed)
    drawn = [rng.normal(size=SHAPES[rng.integers(len(SHAPES))]) for _ in range(number)]
    return [
        jnp.asarray(leaf.round(levels) if levels is not None else leaf, np.float32)
        for leaf in drawn
    ]


@pytest.mark.parametrize("number", [0, 1, 3, 20, 40])
def test_leaves_come_back_as_they_were(limits, number):
    tree = leaves(number, number)
    found = blocks.arrange(tree)
    assert sorted(i for block in found for i in block.leaves) == list(range(number))
    rows = [blocks.pack(block, tree) for block in found]
    assert number < 4 or {block.cut for block in found} == {True, False}
    chex.assert_trees_all_equal(blocks.unpack(found, rows), tree, strict=True)
    for block, array in zip(found, rows):
        real = blocks.real(block)
        own = np.concatenate([np.ravel(tree[index]) for index in block.leaves])
        np.testing.assert_array_equal(np.asarray(array)[... if real is None else real].ravel(), own)
        # where a row begins in its leaf, and whose it is
        for owner, offset, row in zip(blocks.owners(block), blocks.offsets(block), array):
            leaf = np.ravel(tree[block.leaves[owner]])[offset:]
            np.testing.assert_array_equal(np.ravel(row)[: leaf.size], leaf[: row.size])
        counts = jnp.arange(len(array), dtype=jnp.int32) + 2**30  # the total wraps around
        expected = np.zeros(len(block.leaves), np.int64)
        np.add.at(expected, blocks.owners(block), np.asarray(counts))
        np.testing.assert_array_equal(blocks.by_leaf(block, counts), expected.astype(np.int32))


@pytest.mark.parametrize(("scope", "ties"), [("global", "random"), ("layer", "index")])
def test_choices_are_those_of_leaves_alone(scope, ties):
    trees = [leaves(seed, 10) for seed in (1, 1)]
    trees[1] = [jnp.round(leaf) for leaf in trees[0]]
    for scores in trees:
        scores[3] = jnp.where(scores[3] > 0.5, jnp.nan, scores[3])
        scores[4], scores[7] = -0.0 * scores[4], scores[7].astype(jnp.bfloat16)
    among = [jnp.asarray(np.random.default_rng(2).random(leaf.shape) < 0.7) for leaf in trees[0]]
    counts = [mask.allocate(trees[0], density, scope) for density in (0.1, 0.5, 1)]

    def chosen():
        keep = jax.jit(lambda s, count: mask.keep_count(s, count, scope, ties, among=among))
        return [keep(scores, count) for scores in trees for count in counts]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "FEW", 100)
        alone = chosen()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in LIMITS.items():
            patch.setattr(blocks, name, value)
        together = chosen()
    chex.assert_trees_all_equal(together, alone, strict=True)


@pytest.mark.parametrize("scope", ["global", "layer"])
@pytest.mark.parametrize("shape", [(30, 30), (1000, 300)])
def test_a_program_hardly_grows_with_leaves(scope, shape):
    def lines(number):
        scores = [
            jax.ShapeDtypeStruct((*shape[:-1], shape[-1] + i % 5), jnp.float32)
            for i in range(number)
        ]
        count = mask.allocate(scores, 0.3, scope)
        keep = jax.jit(lambda scores: mask.keep_count(scores, count, scope))
        return keep.lower(scores).as_text().count("\n")

    # A leaf alone has some 300.
    assert lines(160) - lines(40) < 120 * 40


def test_what_is_known_to_be_sharded_is_not_cut(monkeypatch):
    monkeypatch.setattr(blocks, "FEW", 1)

    # As far as `arrange` asks, leaves on two devices.
    divided = collections.namedtuple("Divided", "is_fully_replicated")(False)
    sharded = types.SimpleNamespace(shape=(8, 4), sharding=divided)
    kinds = [*[sharded] * 4, np.zeros((8, 4)), np.zeros(3)]
    found = {block.leaves: block.cut for block in blocks.arrange(kinds)}
    assert found == {(0, 1): False, (2, 3): False, (4, 5): True}
    whole = NamedSharding(Mesh(np.array(jax.devices()[:1]), "x"), P("x"))
    placed = [jax.device_put(np.zeros((8, 4)), whole)] * 3
    assert [block.cut for block in blocks.arrange(placed)] == [True]


def test_large_leaves_are_stacked_by_shape_and_few_are_alone():
    big = (blocks.SMALL, 1)
    shapes = [big] * 5 + [(2, blocks.SMALL)] * 2 + [(3,)] * 2
    alone = blocks.arrange([jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes])
    assert [block.leaves for block in alone] == [(i,) for i in range(9)]
    shapes = [big] * 20 + [(2, blocks.SMALL)] + [(3, i) for i in range(9)]
    found = blocks.arrange([jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes])
    assert [len(block.leaves) for block in found] == [11, 9, 1, 9]  # half of them at most
    assert [block.cut for block in found] == [False, False, False, True]
    many = blocks.arrange([jax.ShapeDtypeStruct(big, jnp.float32)] * 40)
    assert [len(block.leaves) for block in many] == [16, 16, 8]
    assert all(math.prod(shape) < blocks.SMALL for shape in found[-1].shapes)
