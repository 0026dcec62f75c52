"""N:M: exact counts of every group against a stable sort, ties, special numbers, errors."""

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

special = [0.0, -0.0, 1.0, -1.0, 0.5, np.inf, -np.inf, np.nan, 1e-40, -1e-40]
quick = settings(max_examples=20)


def random_tree(seed):
    """Rounded, so that some scores are equal; a hole among the leaves."""
    rng = np.random.default_rng(seed)
    shapes = {"conv": (3, 2, 4, 6), "dense": (8, 6)}
    return {n: jnp.asarray(rng.normal(size=s).round(1), jnp.float32) for n, s in shapes.items()} | {
        "hole": None
    }


def expected(scores, n, m):
    """Along the last axis: a stable sort of each group, NaN last."""
    groups = np.asarray(scores, np.float64).reshape(-1, m)
    chosen = np.zeros(groups.shape, bool)
    for row, group in zip(chosen, groups):
        row[np.lexsort((np.arange(m), -group, np.isnan(group)))[:n]] = True
    return chosen.reshape(np.shape(scores))


def equal(found, wanted):
    """Bit for bit, and of one structure, shapes and dtypes."""
    chex.assert_trees_all_equal(found, wanted, strict=True)


@given(st.lists(st.sampled_from(special), min_size=24, max_size=24), st.integers(1, 4))
@quick
def test_equals_a_stable_sort_of_each_group(numbers, n):
    numbers = np.array(numbers, np.float32).reshape(3, 8)
    scores = {"last": jnp.asarray(numbers), "first": jnp.asarray(numbers.T), "hole": None}
    chosen = expected(numbers, n, 4)
    equal(mask.keep_n_of_m(scores["last"], n, 4, axis=-1), chosen)
    equal(mask.keep_n_of_m(scores["first"], n, 4, axis=0), chosen.T)
    equal(mask.keep_n_of_m(scores["first"], n), chosen.T)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32", "float64"])
def test_along_the_inputs_of_every_kernel(dtype, x64):
    scores = jax.tree.map(lambda s: s.astype(dtype), random_tree(0))

    def along_inputs(leaf):
        moved = np.moveaxis(np.asarray(leaf, np.float64), -2, -1)
        return np.moveaxis(expected(moved, 2, 4), -1, -2)

    equal(jax.jit(mask.keep_n_of_m)(scores), jax.tree.map(along_inputs, scores))
    assert mask.keep_n_of_m(scores, 4)["dense"].all()
    assert mask.keep_n_of_m(scores, 1, 2)["conv"].mean() == 0.5


@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([(1, 2), (2, 4), (3, 4), (5, 8)]),
    st.integers(-20, 20),
    st.integers(-50, 50),
)
@quick
def test_only_the_order_within_each_group_matters(seed, pattern, exponent, shift):
    n, m = pattern
    rng = np.random.default_rng(seed)
    groups = rng.permuted(np.tile(np.arange(m, dtype=np.float32), (6, 2, 1)), axis=-1)
    keep = functools.partial(mask.keep_n_of_m, n=n, m=m, axis=1)

    def chosen(values):
        flat = keep(values.reshape(6, 2 * m))
        return flat.reshape(6, 2, m)

    wanted = groups >= m - n
    equal(chosen(groups), wanted)
    equal(chosen(groups * np.float32(2.0**exponent)), wanted)
    # by another number in every group: they do not compete
    equal(chosen(groups + np.arange(12, dtype=np.float32).reshape(6, 2, 1) * shift), wanted)
    order = rng.permuted(np.tile(np.arange(m), (6, 2, 1)), axis=-1)
    equal(chosen(np.take_along_axis(groups, order, -1)), np.take_along_axis(wanted, order, -1))


def test_vmap_equals_a_loop_and_no_gradient_is_needed(variant):
    rows = [random_tree(seed) for seed in range(3)]
    batched = jax.vmap(mask.keep_n_of_m)(jax.tree.map(lambda *leaves: jnp.stack(leaves), *rows))
    for index, row in enumerate(rows):
        one = jax.tree.map(lambda leaf: leaf[index], batched)  # noqa: B023
        equal(variant(mask.keep_n_of_m)(row), one)

    def kept(s):
        return jnp.sum(jnp.where(mask.keep_n_of_m({"w": s})["w"], s, 0))

    s = rows[0]["dense"]
    equal(variant(jax.grad(kept))(s), mask.keep_n_of_m(s).astype(jnp.float32))


def test_another_tree_of_the_same_shapes_does_not_recompile():
    keep = jax.jit(chex.assert_max_traces(lambda scores: mask.keep_n_of_m(scores), n=1))
    for seed in range(3):
        equal(keep(random_tree(seed)), mask.keep_n_of_m(random_tree(seed)))


def test_a_tree_without_leaves():
    assert mask.keep_n_of_m({}) == {}
    assert mask.keep_n_of_m({"hole": None}) == {"hole": None}
    empty = mask.keep_n_of_m({"w": jnp.zeros((0, 3))})
    equal(empty, {"w": np.zeros((0, 3), bool)})


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda s: mask.keep_n_of_m(s, 0, 4), "n=0, m=4"),
        (lambda s: mask.keep_n_of_m(s, 5, 4), "1 <= n <= m"),
        (lambda s: mask.keep_n_of_m(s, 0.5, 4), "give integers"),
        (lambda s: mask.keep_n_of_m(s, 2, 3), "'a/w' has shape \\(4, 6\\)"),
        (lambda s: mask.keep_n_of_m(s | {"b": jnp.ones(4)}), "'b' .* its inputs"),
        (lambda s: mask.keep_n_of_m({"n": jnp.arange(4)}, 2, 4), "'n' is int32"),
    ],
)
def test_wrong_arguments(call, words):
    with pytest.raises(InputError, match=words):
        call({"a": {"w": jnp.ones((4, 6))}})
