"""Measures of masks against NumPy."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from jaxmask import mask
from jaxmask.errors import InputError

bits = npst.arrays(bool, (7,))
pairs = st.tuples(bits, bits)


def two_leaves(x):
    return {"p": x[:4].reshape(2, 2), "q": x[4:]}


@given(pairs, st.sampled_from(["bool", "binary", "sign"]))
def test_equal_numpy_for_every_kind_of_mask(pair, kind):
    def tree(x):
        off = {"bool": False, "binary": 0, "sign": -1}[kind]
        full = np.where(x, 1, off).astype({"bool": bool, "binary": np.float32}.get(kind, np.int8))
        return {"p": full[:4].reshape(2, 2), "q": jnp.asarray(full[4:]), "hole": None}

    a, b = pair
    x, y = tree(a), tree(b)
    assert mask.measure.density(x) == a.mean()
    assert mask.measure.density_by_leaf(x) == {"p": a[:4].mean(), "q": a[4:].mean()}
    assert mask.measure.hamming(x, y) == (a != b).sum()
    either = (a | b).sum()
    assert mask.measure.overlap(x, y) == ((a & b).sum() / either if either else 1)
    assert mask.measure.overlap(x, x) == 1
    empty = [path for path, on in (("p", a[:4]), ("q", a[4:])) if not on.any()]
    assert mask.measure.empty_leaves(x) == empty


@given(bits, bits, bits, st.permutations(range(7)))
@settings(max_examples=50)
def test_distances_are_distances_and_order_does_not_matter(a, b, c, order):
    order = np.array(order)
    x, y, z = map(two_leaves, (a, b, c))
    hamming, overlap = mask.measure.hamming, mask.measure.overlap
    assert hamming(x, y) == hamming(y, x) <= hamming(x, z) + hamming(z, y)
    assert (hamming(x, y) == 0) == (a == b).all()
    assert 0 <= overlap(x, y) == overlap(y, x) <= 1
    # all the same of the weights in another order, in one leaf
    assert hamming(a[order], b[order]) == hamming(x, y)
    assert overlap(a[order], b[order]) == overlap(x, y)
    assert mask.measure.density(a[order]) == mask.measure.density(x)
    inside_out = jax.tree.map(np.logical_not, x)
    assert hamming(x, inside_out) == 7
    assert overlap(x, inside_out) == 0


MEASURES = {
    "density": lambda a, b: mask.measure.density(a),
    "density_by_leaf": lambda a, b: mask.measure.density_by_leaf(a),
    "overlap": mask.measure.overlap,
    "hamming": mask.measure.hamming,
}


@pytest.mark.parametrize("name", MEASURES)
def test_jit_and_vmap_equal_an_eager_loop(name):
    rng = np.random.default_rng(0)
    draws = rng.random((2, 5, 7)) < 0.5
    draws[:, 0] = False  # nothing at all, in both
    a, b = (jax.vmap(two_leaves)(jnp.asarray(draw)) for draw in draws)
    batched = jax.jit(jax.vmap(MEASURES[name]))(a, b)
    one_by_one = jax.jit(MEASURES[name])
    for index in range(5):
        x, y, found = (jax.tree.map(lambda leaf: leaf[index], t) for t in (a, b, batched))  # noqa: B023
        chex.assert_trees_all_close(found, one_by_one(x, y), rtol=1e-7)
        chex.assert_trees_all_close(found, MEASURES[name](x, y), rtol=1e-7)
        chex.assert_type(jax.tree.leaves(found), int if name == "hamming" else jnp.float32)


def test_counts_are_exact_beyond_float32():
    size = 2**24 + 3
    ones = jnp.ones(size, bool)
    masks = {"w": ones, "v": jnp.zeros(1, bool)}
    assert mask.measure.hamming(masks, {"w": ones, "v": jnp.ones(1, bool)}) == 1
    assert mask.measure.hamming(masks, {"w": ~ones, "v": jnp.ones(1, bool)}) == size + 1
    assert mask.measure.density(masks) == size / (size + 1)


def test_nothing_at_all():
    assert mask.measure.density({}) == mask.measure.overlap({}, {}) == 1
    assert mask.measure.hamming({}, None) == 0
    empty = {"w": jnp.zeros((0, 3), bool)}
    assert mask.measure.density_by_leaf(empty) == {"w": 1}
    assert mask.measure.empty_leaves(empty) == []


def test_inside_jit_and_vmap():
    masks = {"w": jnp.array([[1, 0, 0, 1], [0, 0, 0, 0]]), "v": jnp.array([[True], [False]])}
    other = jax.tree.map(jnp.zeros_like, masks)
    density = jax.jit(jax.vmap(mask.measure.density))(masks)
    np.testing.assert_allclose(density, [0.6, 0])
    assert jax.vmap(mask.measure.overlap)(masks, other).tolist() == [0, 1]
    assert jax.vmap(mask.measure.hamming)(masks, other).tolist() == [3, 0]
    by_leaf = jax.jit(mask.measure.density_by_leaf)(masks)
    assert by_leaf == {"w": 0.25, "v": 0.5}


def test_python_numbers_outside_jit():
    masks = {"w": jnp.array([1, 0])}
    assert type(mask.measure.density(masks)) is float
    assert type(mask.measure.hamming(masks, masks)) is int


def test_different_structures():
    a = {"w": jnp.ones(3), "v": jnp.ones(1)}
    for measure in (mask.measure.overlap, mask.measure.hamming):
        with pytest.raises(InputError, match="no 'v'"):
            measure(a, {"w": jnp.ones(3)})
        with pytest.raises(InputError, match="'w' has shape"):
            measure(a, {"w": jnp.ones(2), "v": jnp.ones(1)})


def many(bit, leaves, shape=(2**15, 2**15)):
    """Leaves of 2^30 weights, all on or all off; inside jit they are never made."""
    return {f"l{index}": jnp.broadcast_to(bit, shape) for index in range(leaves)}


def test_a_tree_beyond_int32_inside_jit():
    on = jnp.array(True)
    density = jax.jit(lambda a, b: mask.measure.density([many(a, 5), many(b, 1)]))
    np.testing.assert_allclose(density(on, ~on), 5 / 6, rtol=1e-6)
    assert density(on, on) == 1
    overlap = jax.jit(
        lambda a, b: mask.measure.overlap([many(a, 5), many(b, 4)], [many(a, 5), many(a, 4)])
    )
    np.testing.assert_allclose(overlap(on, ~on), 5 / 9, rtol=1e-6)
    by_leaf = jax.jit(lambda a: mask.measure.density_by_leaf(many(a, 3)))(on)
    assert by_leaf == {"l0": 1, "l1": 1, "l2": 1}


def test_a_distance_beyond_int32_needs_64_bits():
    def apart(a):
        return mask.measure.hamming(many(a, 3), many(~a, 3))

    with pytest.raises(InputError, match="hamming of 3221225472 weights inside jit"):
        jax.jit(apart)(jnp.array(True))
    jax.config.update("jax_enable_x64", True)
    try:
        assert jax.jit(apart)(jnp.array(True)) == 3 * 2**30
    finally:
        jax.config.update("jax_enable_x64", False)


def test_a_leaf_beyond_int32_has_measures():
    large = {"w": jax.ShapeDtypeStruct((60_000, 50_000), jnp.bool_)}
    for measure in (mask.measure.density, mask.measure.density_by_leaf):
        chex.assert_type(jax.tree.leaves(jax.eval_shape(measure, large)), jnp.float32)
    assert jax.eval_shape(mask.measure.overlap, large, large).shape == ()
