"""Blocks and channels: exact counts against NumPy, ties, special numbers, errors."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxmask import mask
from jaxmask.errors import InputError

quick = settings(max_examples=20)


def random_tree(seed, exact=True):
    """Quarters, whose sums are exact in any order, so that units tie; a hole among the leaves."""
    rng = np.random.default_rng(seed)
    shapes = {"conv": (3, 2, 4, 6), "dense": (8, 6)}

    def leaf(shape):
        numbers = rng.normal(size=shape)
        return jnp.asarray(numbers.round() / 4 if exact else numbers.round(1), jnp.float32)

    return {**{name: leaf(shape) for name, shape in shapes.items()}, "hole": None}


def equal(found, wanted):
    """Bit for bit, and of one structure, shapes and dtypes."""
    chex.assert_trees_all_equal(found, wanted, strict=True)


def in_blocks(array, sides):
    """The blocks in the order of their indices, each flat: shape (blocks, entries)."""
    array = np.asarray(array)
    a, b = sides
    *rest, rows, columns = array.shape
    array = array.reshape(*rest, rows // a, a, columns // b, b)
    return np.swapaxes(array, -3, -2).reshape(-1, a * b)


def in_channels(array):
    return np.moveaxis(np.asarray(array), -1, 0).reshape(np.shape(array)[-1], -1)


UNITS = {
    "blocks": (functools.partial(mask.keep_blocks, block=(2, 3)), lambda x: in_blocks(x, (2, 3))),
    "channels": (mask.keep_channels, in_channels),
}
REDUCE = {"sum": np.sum, "mean": np.mean, "max": np.max}


@pytest.mark.parametrize("kind", UNITS)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 100),
    st.sampled_from(["global", "layer"]),
    st.sampled_from(sorted(REDUCE)),
    st.sampled_from(["random", "index"]),
)
@quick
def test_whole_units_of_the_highest_scores(kind, seed, percent, scope, reduce, ties):
    keep, units = UNITS[kind]
    exact = bool(seed % 2)
    scores = random_tree(seed, exact)
    key = jax.random.key(seed)
    chosen = keep(scores, percent / 100, scope=scope, reduce=reduce, ties=ties, key=key)
    chex.assert_trees_all_equal_shapes(chosen, scores)
    chex.assert_type(jax.tree.leaves(chosen), bool)
    kept, values = {}, {}
    for name in ("conv", "dense"):
        flat = units(chosen[name])
        assert (flat == flat[:, :1]).all()
        kept[name] = flat[:, 0]
        values[name] = REDUCE[reduce](units(scores[name]).astype(np.float64), axis=1)
    if scope == "global":
        kept = {"all": np.concatenate([*kept.values()])}
        values = {"all": np.concatenate([*values.values()])}
    for name, value in values.items():
        count = -(-value.size * percent // 100)
        assert kept[name].sum() == count
        # the lowest that is kept is no lower than the highest that is not, but for rounding
        highest = np.max(value[~kept[name]], initial=-np.inf)
        lowest = np.min(value[kept[name]], initial=np.inf)
        assert lowest >= highest - (1e-7 if exact else 1e-5)


@pytest.mark.parametrize("kind", UNITS)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 100),
    st.sampled_from(sorted(REDUCE)),
    st.integers(-20, 20),
    st.integers(-50, 50),
)
@quick
def test_neither_scale_nor_shift_nor_order_matters(kind, seed, percent, reduce, exponent, shift):
    """Of units all equally large, for a sum is shifted by as much as the unit is large."""
    keep, _ = UNITS[kind]
    rng = np.random.default_rng(seed)
    # whole numbers, whose sums and means in one order or another are the same; no two units tie
    scores = np.zeros((12, 6), np.float32)
    scores[::2, ::3] = rng.permutation(12).reshape(6, 2)
    scores = {"w": scores} if kind == "blocks" else {"w": scores[::2, ::3].reshape(1, 12)}
    keep = functools.partial(keep, density=percent / 100, reduce=reduce, ties="index")
    chosen = keep(scores)
    equal(keep(jax.tree.map(lambda s: s * np.float32(2.0**exponent), scores)), chosen)
    equal(keep(jax.tree.map(lambda s: s + np.float32(shift), scores)), chosen)
    order = rng.permutation(6 if kind == "blocks" else 12)

    def moved(leaf):
        leaf = np.asarray(leaf)
        return leaf.reshape(6, 2, 6)[order].reshape(12, 6) if kind == "blocks" else leaf[:, order]

    equal(keep(jax.tree.map(moved, scores)), jax.tree.map(moved, chosen))


def test_equal_units_by_index_and_at_random():
    scores = {"a": jnp.zeros((8, 8)), "b": jnp.zeros((2, 4, 4))}
    chosen = mask.keep_blocks(scores, 0.5, ties="index")
    assert chosen["a"][:, :4].sum() == 32 - 16 * (not chosen["a"][4:, :4].any())
    assert np.concatenate([in_blocks(leaf, (4, 4))[:, 0] for leaf in chosen.values()]).tolist() == [
        True, True, True, False, False, False
    ]  # fmt: skip
    draws = {
        tuple(in_channels(mask.keep_channels(scores, 0.5, key=jax.random.key(k))["a"])[:, 0])
        for k in range(5)
    }
    assert len(draws) > 1


@pytest.mark.parametrize("kind", UNITS)
def test_a_unit_with_nan_is_never_ahead_of_a_number(kind):
    keep, units = UNITS[kind]
    scores = {"w": jnp.full((4, 6), -3e38).at[0, 0].set(jnp.nan)}
    for reduce in REDUCE:
        flat = units(keep(scores, 0.75, reduce=reduce)["w"])
        assert not flat[0].any()


def test_sums_are_wider_than_bfloat16(x64):
    # 256 + 1 is 256 in bfloat16
    scores = jnp.array([[256.0, 256.0], [0.0, 1.0]], jnp.bfloat16)
    for reduce in ("sum", "mean"):
        chosen = mask.keep_channels(scores, 0.5, reduce=reduce, ties="index")
        assert chosen.tolist() == [[False, True]] * 2
    scores = jnp.array([[1.0, 1.0], [0.0, 1e-12]])
    assert mask.keep_channels(scores, 0.5, ties="index").tolist() == [[False, True]] * 2


def test_channels_along_another_axis_and_of_a_vector():
    scores = {"w": jnp.array([[1.0, 2.0], [4.0, 0.0]]), "b": jnp.array([3.0, -1.0])}
    chosen = mask.keep_channels(scores, 0.5, axis=0)
    assert chosen["w"].tolist() == [[False, False], [True, True]]
    assert chosen["b"].tolist() == [True, False]
    # means, not sums: the channels of the larger kernel do not win by their size
    scores = {"large": jnp.full((9, 2), 1.0), "small": jnp.full((2, 2), 2.0)}
    chosen = mask.keep_channels(scores, 0.5)
    assert chosen["small"].all()
    assert not chosen["large"].any()
    assert mask.keep_channels(scores, 0.5, reduce="sum")["large"].all()


@pytest.mark.parametrize("kind", UNITS)
def test_vmap_equals_a_loop_and_no_gradient_is_needed(kind, variant):
    keep = functools.partial(UNITS[kind][0], density=0.4)
    rows = [random_tree(seed) for seed in range(3)]
    batched = jax.vmap(keep)(jax.tree.map(lambda *leaves: jnp.stack(leaves), *rows))
    one_by_one = variant(keep)
    for index, row in enumerate(rows):
        equal(one_by_one(row), jax.tree.map(lambda leaf: leaf[index], batched))  # noqa: B023

    def kept(s):
        return jnp.sum(jnp.where(keep({"w": s})["w"], s, 0))

    s = rows[0]["dense"]
    equal(variant(jax.grad(kept))(s), keep({"w": s})["w"].astype(jnp.float32))


@pytest.mark.parametrize("kind", UNITS)
def test_a_traced_density_compiles_once(kind):
    scores, keep = random_tree(3), UNITS[kind][0]
    compiled = jax.jit(chex.assert_max_traces(lambda d: keep(scores, d), n=1))
    for density in (0.25, 0.5, 1):
        equal(compiled(jnp.float32(density)), keep(scores, density))


def test_a_tree_without_leaves():
    assert mask.keep_channels({}, 0.5) == mask.keep_blocks({}, 0.5) == {}


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda s: mask.keep_blocks(s, 0.5), "'a/w' .* multiples of the block \\(4, 4\\)"),
        (lambda s: mask.keep_blocks(s, 0.5, (1, 4, 6)), "'a/w' has shape"),
        (lambda s: mask.keep_blocks(s, 0.5, ()), "sides of a block"),
        (lambda s: mask.keep_blocks(s, 0.5, (2, 0)), "sides of a block"),
        (lambda s: mask.keep_blocks(s, 0.5, 4), "block 4; give integers"),
        (lambda s: mask.keep_blocks(s, 0.5, (2, 2), "erk"), "scope 'erk'"),
        (lambda s: mask.keep_blocks(s, 0.5, (2, 2), reduce="min"), "reduce 'min'"),
        (lambda s: mask.keep_blocks(s, 0, (2, 2)), "density 0"),
        (lambda s: mask.keep_channels(s, 0.5, ties="first"), "ties 'first'"),
        (lambda s: mask.keep_channels(s, 0.5, axis=2), "'a/w' .* no axis 2"),
        (lambda s: mask.keep_channels({"b": jnp.float32(1)}, 0.5), "'b' .* no outputs"),
        (lambda s: mask.keep_channels({"n": jnp.arange(3)}, 0.5), "'n' is int32"),
    ],
)
def test_wrong_arguments(call, words):
    with pytest.raises(InputError, match=words):
        call({"a": {"w": jnp.ones((4, 6))}})
