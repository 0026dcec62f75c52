"""Pruned weights: exactly zero where the mask is off, and no gradient, whatever stood there."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from jaxmask import mask

numbers = st.floats(width=32) | st.sampled_from([0.0, -0.0, np.inf, -np.inf, np.nan])
leaves = npst.arrays(np.float32, (2, 3), elements=numbers)
masks = npst.arrays(bool, (2, 3))
quick = settings(max_examples=25)


def equal(found, expected):
    """Bit for bit, and of one structure, shapes and dtypes."""
    chex.assert_trees_all_equal(found, expected, strict=True)


@given(leaves, leaves, masks)
@quick
def test_what_is_off_is_zero_and_all_else_as_it_was(variant, a, b, bits):
    weights = {"a": a, "b": {"c": b}, "hole": None}
    pruned = variant(mask.pruned)
    off = np.float32(0)
    expected = {"a": np.where(bits, a, off), "b": {"c": b}, "hole": None}
    for on in (bits, bits.astype(np.float32), bits.astype(np.int8)):
        found = pruned({"a": on, "b": {"c": None}, "hole": None}, weights)
        equal(found, expected)
        # not -0.0: a zero that a file or a comparison of bits would tell apart
        assert not np.signbit(found["a"])[~bits].any()


@given(leaves, masks, masks)
@quick
def test_one_mask_after_another_is_both_at_once(variant, w, one, other):
    pruned = variant(mask.pruned)
    once = pruned({"w": one}, {"w": w})
    equal(pruned({"w": one}, once), once)
    equal(pruned({"w": other}, once), pruned({"w": one & other}, {"w": w}))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32", "float64", "int32"])
def test_the_dtype_of_the_weights_stays(dtype, x64):
    weights = {"w": jnp.array([3, 4, 5], dtype), "scalar": jnp.array(2, dtype)}
    found = mask.pruned({"w": jnp.array([1, 0, 1]), "scalar": jnp.array(False)}, weights)
    chex.assert_trees_all_equal_shapes_and_dtypes(found, weights)
    assert found["w"].tolist() == [3, 0, 5]
    assert found["scalar"] == 0


def test_what_is_off_has_no_gradient_even_where_it_is_not_a_number(variant):
    bits = {"w": jnp.array([True, False, False]), "whole": None}
    weights = {"w": jnp.array([2.0, jnp.nan, jnp.inf]), "whole": jnp.array([-3.0])}

    def loss(weights):
        return sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(mask.pruned(bits, weights)))

    gradient = variant(jax.grad(loss))(weights)
    equal(gradient, {"w": jnp.array([4.0, 0.0, 0.0]), "whole": jnp.array([-6.0])})


def test_vmap_over_masks_equals_a_loop(variant):
    rng = np.random.default_rng(0)
    weights = {"w": jnp.asarray(rng.normal(size=(3, 4)), jnp.float32)}
    bits = {"w": jnp.asarray(rng.random((5, 3, 4)) < 0.5)}
    batched = variant(jax.vmap(mask.pruned, (0, None)))(bits, weights)
    for index in range(5):
        one = mask.pruned({"w": bits["w"][index]}, weights)
        equal({"w": batched["w"][index]}, one)


class TestEveryWayToCall(chex.TestCase):
    """Arrays of NumPy and of JAX, on a device or not, compiled or not, give the same."""

    @chex.all_variants(with_pmap=False)
    def test_arrays_from_anywhere(self):
        w, bits = np.float32([[1, 2], [3, 4]]), np.array([[True, False], [False, True]])
        found = self.variant(mask.pruned)(bits, w)
        chex.assert_trees_all_equal(found, np.float32([[1, 0], [0, 4]]), strict=True)
