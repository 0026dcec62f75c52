"""Counts: exact in decimal on the host, close on the device, Erdos-Renyi-kernel to the unit."""

import math
from decimal import Decimal
from fractions import Fraction

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxmask import mask
from jaxmask.errors import InputError
from jaxmask.mask.allocate import _traced_kept

# sizes differ in every example: an argument, so that it compiles once
TRACED_KEPT = jax.jit(_traced_kept)

NET = {
    "conv": jax.ShapeDtypeStruct((3, 3, 16, 32), jnp.float32),
    "dense": jax.ShapeDtypeStruct((784, 300), jnp.float32),
    "head": jax.ShapeDtypeStruct((300, 10), jnp.float32),
    "bias": jax.ShapeDtypeStruct((300,), jnp.float32),
    "scalar": jax.ShapeDtypeStruct((), jnp.float32),
    "empty": jax.ShapeDtypeStruct((0, 5), jnp.float32),
}


@pytest.mark.parametrize(
    ("density", "size", "kept"),
    [
        (0.9, 10, 9),  # (1 - 0.9) * 10 is 0.9999999999999998 in binary
        (0.1, 10, 1),
        (0.7, 10, 7),
        (0.3, 5, 2),
        (0.005, 266_200, 1331),
        (1e-9, 10, 1),
        (1, 10, 10),
        (np.float32(0.9), 10, 9),
        (Fraction(1, 3), 9, 3),
        (Decimal("0.1"), 30, 3),
        (0.5, 0, 0),
    ],
)
def test_kept_is_what_removing_leaves(density, size, kept):
    assert mask.allocate({"w": np.zeros(size)}, density) == kept
    assert mask.allocate({"w": np.zeros(size)}, jnp.asarray(0.5)) == math.ceil(size / 2)


def test_scopes():
    tree = {"a": np.zeros((5, 2)), "b": np.zeros(5), "hole": None}
    assert mask.allocate(tree, 0.3, "global").tolist() == 5
    assert mask.allocate(tree, 0.3, "layer").tolist() == [3, 2]
    assert mask.allocate({}, 0.3, "layer").shape == (0,)
    assert mask.allocate({}, 0.3, "erk").shape == (0,)
    assert mask.allocate({}, 0.3) == 0


def test_erk_by_hand():
    # units sum(shape): 4 + 20 = 24 and 40; 0.2 of 480 is 96, so eps = 96 / 64 = 1.5
    tree = {"a": np.zeros((4, 20)), "b": np.zeros((20, 20))}
    assert mask.allocate(tree, 0.2, "erk").tolist() == [36, 60]
    # eps = 5: a would keep 120 of its 80, so b gets 320 - 80
    assert mask.allocate(tree, Fraction(2, 3), "erk").tolist() == [80, 240]


@given(
    st.lists(st.lists(st.integers(0, 12), max_size=4).map(tuple), min_size=1, max_size=8),
    st.fractions(Fraction(1, 1000), 1, max_denominator=1000),
)
def test_erk_meets_the_total_and_no_leaf_overflows(shapes, density):
    tree = [np.zeros(shape) for shape in shapes]
    sizes = np.array([leaf.size for leaf in tree])
    counts = mask.allocate(tree, density, "erk")
    assert counts.sum() == mask.allocate(tree, density)
    assert ((counts >= 0) & (counts <= sizes)).all()
    # leaves that are not full keep in proportion to sum(shape), to within one
    units = np.array([sum(shape) if shape else 1 for shape in shapes])
    free = (counts < sizes - 1) & (units > 0)
    if free.any():
        above, below = ((counts[free] + step) / units[free] for step in (1, -1))
        assert below.max() <= above.min() + 1e-9


leaf_shapes = st.lists(st.lists(st.integers(1, 9), max_size=3).map(tuple), min_size=1, max_size=6)
densities = st.fractions(Fraction(1, 1000), 1, max_denominator=1000)


@given(leaf_shapes, densities, densities, st.randoms(use_true_random=False))
@settings(max_examples=50)
def test_order_does_not_matter_and_more_is_never_less(shapes, density, other, random):
    few, many = sorted((density, other))
    order = random.sample(range(len(shapes)), len(shapes))
    tree, mixed = ([np.zeros(shape) for shape in each]
                   for each in (shapes, [shapes[i] for i in order]))  # fmt: skip
    for scope in ("global", "layer", "erk"):
        counts = mask.allocate(tree, few, scope)
        chex.assert_type(counts, np.int32)
        chex.assert_shape(counts, () if scope == "global" else (len(shapes),))
        assert counts.sum() <= mask.allocate(tree, many, scope).sum()
    layer = mask.allocate(tree, few, "layer")
    assert (layer <= mask.allocate(tree, many, "layer")).all()
    assert (layer == [mask.allocate(leaf, few) for leaf in tree]).all()
    chex.assert_trees_all_equal(mask.allocate(mixed, few, "layer"), layer[order], strict=True)
    # by "erk" all but the rounding, of which equal remainders get one by their place
    found, expected = mask.allocate(mixed, few, "erk"), mask.allocate(tree, few, "erk")[order]
    assert found.sum() == expected.sum()
    chex.assert_trees_all_close(found, expected, rtol=0, atol=1)


def test_vmap_equals_a_loop():
    for scope in ("global", "layer", "erk"):
        traced = jax.jit(lambda d, scope=scope: mask.allocate(NET, d, scope))
        some = jnp.array([0.01, 0.5, 1.0])
        batched, each = jax.vmap(traced)(some), jnp.stack([traced(density) for density in some])
        chex.assert_trees_all_equal_shapes_and_dtypes(batched, each)
        # eps is a float32: a remainder may round the other way, and the sum stays
        chex.assert_trees_all_close(batched, each, rtol=0, atol=1 if scope == "erk" else 0)
        assert (batched.reshape(3, -1).sum(axis=1) == each.reshape(3, -1).sum(axis=1)).all()


@given(st.integers(1, 2**31 - 1), st.integers(1, 1000))
def test_a_traced_density_counts_to_float32s_precision(size, permille):
    density = Fraction(permille, 1000)
    exact = size - math.floor((1 - density) * size)
    counted = int(TRACED_KEPT(np.float32(permille / 1000), np.uint32(size)))
    assert exact - 1 - exact / 2**22 <= counted <= exact
    if density * size == exact <= 2**22:
        assert counted == exact
    if size < 2**13:
        assert counted == exact


@pytest.mark.parametrize("scope", ["global", "layer", "erk"])
def test_a_traced_density_equals_the_host(scope):
    counted = jax.jit(chex.assert_max_traces(lambda d: mask.allocate(NET, d, scope), n=1))
    for density in (0.001, 0.01, 0.1, 0.5, 0.9, 0.99, 1.0):
        exact = mask.allocate(NET, density, scope)
        device = counted(density)
        chex.assert_type([device, exact], np.int32)
        chex.assert_equal_shape([device, exact])
        assert device.sum() == exact.sum()
        chex.assert_trees_all_close(device, exact, rtol=0, atol=1 if scope == "erk" else 0)


def test_a_traced_density_out_of_range_is_taken_into_it():
    counted = jax.jit(lambda d: mask.allocate({"w": np.zeros(100)}, d))
    assert [int(counted(d)) for d in (1e-20, 1e-9, -0.5, 0.0, 1.5, np.nan)] == [1, 1, 0, 0, 100, 0]
    batched = jax.vmap(lambda d: mask.allocate({"w": np.zeros(100)}, d))
    assert batched(jnp.array([0.1, 0.25])).tolist() == [10, 25]


def test_erk_of_many_weights_adds_up_on_the_device():
    shapes = [(3, 3, 512, 512)] * 8 + [(7, 7, 3, 64), (2048, 1000), (64,)]
    tree = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    counted = jax.jit(lambda d: mask.allocate(tree, d, "erk"))
    for density in (0.01, 0.3, 0.97):
        exact, device = mask.allocate(tree, density, "erk"), counted(density)
        assert abs(int(device.sum()) - int(exact.sum())) <= 3
        chex.assert_trees_all_close(device, exact, rtol=1e-5, atol=2)
        assert (device <= np.array([math.prod(shape) for shape in shapes])).all()


@pytest.mark.parametrize(
    "density", [0, -0.1, 1.01, float("nan"), float("inf"), "half", None, [0.5]]
)
def test_a_wrong_density(density):
    with pytest.raises(InputError, match="density"):
        mask.allocate(NET, density)


def test_wrong_scope_and_size():
    with pytest.raises(InputError, match="scope 'leaf'"):
        mask.allocate(NET, 0.5, "leaf")
    with pytest.raises(InputError, match="2147483648"):
        mask.allocate(jax.ShapeDtypeStruct((2**31,), jnp.float32), 0.5)
    with pytest.raises(InputError, match="one floating-point number"):
        jax.jit(lambda d: mask.allocate(NET, d))(1)


def test_a_tree_of_billions_is_allocated_leaf_by_leaf():
    tree = [jax.ShapeDtypeStruct((2**14, 2**15), jnp.float32)] * 14
    tree.append(jax.ShapeDtypeStruct((10,), jnp.float32))
    assert mask.allocate(tree, 0.25, "layer").tolist() == [2**27] * 14 + [3]
    total = 14 * 2**29 + 10
    assert mask.allocate(tree, 0.25, "erk").sum(dtype=np.int64) == total - total * 3 // 4
    traced = jax.jit(lambda density: mask.allocate(tree, density, "layer"))(0.25)
    assert (np.abs(traced - np.array([2**27] * 14 + [3])) <= 1 + 2**27 // 2**22).all()
    for scope in ("global", "erk"):
        with pytest.raises(InputError, match="7516192778 weights"):
            jax.eval_shape(lambda density: mask.allocate(tree, density, scope), jnp.float32(0.25))  # noqa: B023
