"""Stored masks put back onto the weights that they were learned over."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from flax.core import FrozenDict
from hypothesis import given
from hypothesis import strategies as st

from jaxmask import mask
from jaxmask.errors import InputError

WEIGHTS = {"a": {"kernel": jnp.arange(1.0, 13.0).reshape(3, 4)}, "b": jnp.array([3.0, 5.0])}
KEPT = np.random.default_rng(0).random((3, 4)) < 0.5
KERNEL = np.asarray(WEIGHTS["a"]["kernel"])


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int32, np.float32])
@pytest.mark.parametrize(("put", "alpha"), [(mask.rescaled, KEPT.mean() ** 0.5),
                                            (mask.unscaled, 1.0)])  # fmt: skip
def test_masks_of_any_dtype(dtype, put, alpha):
    found = mask.restore(WEIGHTS, {"a": {"kernel": KEPT.astype(dtype)}}, put)
    expected = {"a": {"kernel": KERNEL * KEPT / alpha}, "b": WEIGHTS["b"]}
    chex.assert_trees_all_close(found, expected, rtol=1e-6)


def test_signs_are_put_on_without_rescaling_and_else_refused():
    signs = {"a": {"kernel": np.where(KEPT, 1, -1).astype(np.int8)}}
    found = mask.restore(WEIGHTS, signs, mask.unscaled)
    chex.assert_trees_all_equal(found["a"]["kernel"], KERNEL * signs["a"]["kernel"])
    with pytest.raises(InputError, match=r"mask\.unscaled"):
        mask.restore(WEIGHTS, signs)


@given(st.sampled_from(["float16", "bfloat16", "float32"]), st.integers(0, 2**12 - 1))
def test_it_is_what_the_transform_applied(dtype, bits):
    """Bit for bit, whatever the mask, also one that is all zero."""
    kept = np.array([bits >> index & 1 for index in range(12)]).reshape(3, 4)
    weights = {"kernel": jnp.asarray(KERNEL, dtype)}
    scores = {"kernel": jnp.asarray(2.0 * kept - 1.0)}
    for transform in (mask.threshold(), mask.threshold(rescale=False), mask.sign()):
        stored = jax.tree.map(np.asarray, transform.mask(scores))
        found = mask.restore(weights, stored, transform.put)
        chex.assert_trees_all_equal(found, transform.apply(scores, weights))
        chex.assert_trees_all_equal_dtypes(found, weights)


def test_the_tree_keeps_its_own_structure():
    masks = {"a": {"kernel": KEPT}}
    expected = mask.restore(WEIGHTS, masks)["a"]["kernel"]
    frozen = mask.restore(FrozenDict(WEIGHTS), masks)
    assert isinstance(frozen, FrozenDict)
    chex.assert_trees_all_equal(frozen["a"]["kernel"], expected)
    layer = nnx.Linear(3, 4, rngs=nnx.Rngs(0))
    state = nnx.state(layer)
    found = mask.restore(state, {"kernel": KEPT})
    chex.assert_trees_all_equal_structs(found, state)
    plain = mask.restore({"kernel": layer.kernel[...]}, {"kernel": KEPT})
    chex.assert_trees_all_equal(found["kernel"][...], plain["kernel"])


def test_jit_gives_what_no_jit_gives():
    masks = {"a": {"kernel": KEPT}}
    jitted = jax.jit(lambda weights, masks: mask.restore(weights, masks))
    chex.assert_trees_all_close(jitted(WEIGHTS, masks), mask.restore(WEIGHTS, masks), rtol=1e-6)


@pytest.mark.parametrize(("masks", "message"), [({"c": KEPT}, "no 'c'"), ({"b": KEPT}, "shape")])
def test_what_belongs_to_another_network_is_refused(masks, message):
    with pytest.raises(InputError, match=message):
        mask.restore(WEIGHTS, masks)
