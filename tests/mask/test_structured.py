"""N:M, blocks and channels: exact counts against NumPy, ties, special numbers, errors."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxmask import mask
from jaxmask.errors import InputError

special = [0.0, -0.0, 1.0, -1.0, 0.5, np.inf, -np.inf, np.nan, 1e-40, -1e-40]
quick = settings(deadline=None, max_examples=20)


def random_tree(seed):
    """Rounded, so that some scores are equal; a hole among the leaves."""
    rng = np.random.default_rng(seed)
    shapes = {"conv": (3, 2, 4, 6), "dense": (8, 6)}
    return {n: jnp.asarray(rng.normal(size=s).round(1), jnp.float32) for n, s in shapes.items()} | {
        "hole": None
    }


def expected_n_of_m(scores, n, m):
    """Along the last axis: a stable sort of each group, NaN last."""
    groups = np.asarray(scores, np.float64).reshape(-1, m)
    chosen = np.zeros(groups.shape, bool)
    for row, group in zip(chosen, groups):
        row[np.lexsort((np.arange(m), -group, np.isnan(group)))[:n]] = True
    return chosen.reshape(np.shape(scores))


@given(st.lists(st.sampled_from(special), min_size=24, max_size=24), st.integers(1, 4))
@quick
def test_n_of_m_equals_a_stable_sort_of_each_group(numbers, n):
    numbers = np.array(numbers, np.float32).reshape(3, 8)
    scores = {"last": jnp.asarray(numbers), "first": jnp.asarray(numbers.T), "hole": None}
    expected = expected_n_of_m(numbers, n, 4)
    np.testing.assert_array_equal(mask.keep_n_of_m(scores["last"], n, 4, axis=-1), expected)
    np.testing.assert_array_equal(mask.keep_n_of_m(scores["first"], n, 4, axis=0), expected.T)
    chosen = mask.keep_n_of_m(scores["first"], n)
    np.testing.assert_array_equal(chosen, expected.T)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32", "float64"])
def test_n_of_m_along_the_inputs_of_every_kernel(dtype, x64):
    scores = jax.tree.map(lambda s: s.astype(dtype), random_tree(0))
    chosen = jax.jit(mask.keep_n_of_m)(scores)
    assert chosen["hole"] is None
    for name in ("conv", "dense"):
        moved = np.moveaxis(np.asarray(scores[name], np.float64), -2, -1)
        expected = np.moveaxis(expected_n_of_m(moved, 2, 4), -1, -2)
        np.testing.assert_array_equal(chosen[name], expected)
        assert chosen[name].dtype == bool
    assert mask.keep_n_of_m(scores, 4)["dense"].all()
    assert mask.keep_n_of_m(scores, 1, 2)["conv"].mean() == 0.5


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
    scores = random_tree(seed)
    if seed % 2:  # quarters, whose sums are exact, so that units tie
        scores = jax.tree.map(lambda s: jnp.round(s) / 4, scores)
    key = jax.random.key(seed)
    chosen = keep(scores, percent / 100, scope=scope, reduce=reduce, ties=ties, key=key)
    assert chosen["hole"] is None
    kept, values = {}, {}
    for name in ("conv", "dense"):
        assert chosen[name].shape == scores[name].shape
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
        assert np.min(value[kept[name]], initial=np.inf) >= highest - 1e-5


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


KEEPS = [mask.keep_n_of_m, *(lambda s, d=0.4, k=keep: k(s, d) for keep, _ in UNITS.values())]


@pytest.mark.parametrize("keep", KEEPS, ids=["n_of_m", *UNITS])
def test_vmap_equals_a_loop_and_no_gradient_is_needed(keep):
    rows = [random_tree(seed) for seed in range(3)]
    batched = jax.vmap(keep)(jax.tree.map(lambda *leaves: jnp.stack(leaves), *rows))
    jitted = jax.jit(keep)
    for index, row in enumerate(rows):
        expected = jitted(row)
        for name in ("conv", "dense"):
            np.testing.assert_array_equal(batched[name][index], expected[name])
    masked = jax.grad(lambda s: jnp.sum(jnp.where(keep({"w": s})["w"], s, 0)))(rows[0]["dense"])
    np.testing.assert_array_equal(masked, keep({"w": rows[0]["dense"]})["w"])


def test_a_traced_density():
    scores = random_tree(3)
    chosen = jax.jit(lambda d: mask.keep_blocks(scores, d, (2, 2)))(jnp.float32(0.25))
    assert sum(leaf.sum() for leaf in jax.tree.leaves(chosen)) == 4 * 12
    assert mask.keep_channels({}, 0.5) == mask.keep_blocks({}, 0.5) == mask.keep_n_of_m({}) == {}


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda s: mask.keep_n_of_m(s, 0, 4), "n=0, m=4"),
        (lambda s: mask.keep_n_of_m(s, 5, 4), "1 <= n <= m"),
        (lambda s: mask.keep_n_of_m(s, 0.5, 4), "give integers"),
        (lambda s: mask.keep_n_of_m(s, 2, 3), "'a/w' has shape \\(4, 6\\)"),
        (lambda s: mask.keep_n_of_m(s | {"b": jnp.ones(4)}), "'b' .* its axis -2"),
        (lambda s: mask.keep_n_of_m({"n": jnp.arange(4)}, 2, 4), "'n' is int32"),
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
        (lambda s: mask.keep_channels({"b": jnp.float32(1)}, 0.5), "'b' .* no axis -1"),
        (lambda s: mask.keep_channels({"n": jnp.arange(3)}, 0.5), "'n' is int32"),
    ],
)
def test_wrong_arguments(call, words):
    with pytest.raises(InputError, match=words):
        call({"a": {"w": jnp.ones((4, 6))}})
