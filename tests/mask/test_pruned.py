"""Pruned weights: exactly zero where the mask is off, and no gradient, whatever stood there."""

import chex
import containers
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from jaxmask import mask
from jaxmask.errors import InputError

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


def test_masks_of_a_part_leave_the_rest_as_it_is():
    weights = {"a": [jnp.ones(2), (jnp.ones(3), None)], "f": jnp.tanh, "n": 3}
    found = mask.pruned({"a": {"1": {"0": np.array([True, False, True])}}}, weights)
    assert jax.tree.structure(found) == jax.tree.structure(weights)
    assert found["a"][0] is weights["a"][0]
    assert found["a"][1][0].tolist() == [1, 0, 1]
    assert found["f"] is jnp.tanh
    equal(mask.pruned({}, {"w": np.ones(2)}), {"w": np.ones(2)})
    equal(mask.pruned(None, {"w": np.ones(2)}), {"w": np.ones(2)})


@pytest.mark.parametrize(
    ("bits", "words"),
    [
        ({"kernel": np.ones((3, 2), bool)}, r"the masks: 'kernel' has shape \(3, 2\).*\(2, 3\)"),
        ({"kernel": np.ones((5, 2, 3), bool)}, r"the masks: 'kernel' has shape \(5, 2, 3\)"),
        ({"kernal": np.ones((2, 3), bool)}, "the masks: there is no 'kernal'.*kernel"),
        ({"kernel": None, "bias": np.ones(3, bool)}, "the masks: there is no 'bias'"),
        ({"kernel": np.array([[1, -1, 1], [1, 1, 1]])}, r"'kernel' is of signs.*mask\.unscaled"),
    ],
)
def test_masks_that_do_not_fit_are_refused_in_one_line(bits, words):
    with pytest.raises(InputError, match=words) as error:
        mask.pruned(bits, {"kernel": jnp.ones((2, 3)), "bias": None})
    assert "\n" not in str(error.value)


def test_a_mask_of_an_nnx_state_is_differentiated_and_compiled():
    weights = containers.KINDS["nnx state"].make()
    bits = {"body": {"kernel": np.random.default_rng(1).random((3, 5)) < 0.5}}
    apply = containers.KINDS["nnx state"].apply
    gradient = jax.jit(
        jax.grad(lambda w: (apply(mask.pruned(bits, w), containers.X) ** 2).sum())
    )(weights)  # fmt: skip
    assert jax.tree.structure(gradient) == jax.tree.structure(weights)
    found = gradient["body"]["kernel"][...]
    off = ~bits["body"]["kernel"]
    assert (found[off] == 0).all()
    assert (found[~off] != 0).any()
