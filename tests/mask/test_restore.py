"""A learned task put onto base weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmask import mask
from jaxmask.errors import InputError

BASE = {
    "params": {"a": {"kernel": jnp.arange(1.0, 13.0).reshape(3, 4)}, "b": jnp.array([3.0, 5.0])},
    "batch_stats": {"a": {"mean": jnp.zeros(2)}},
}
KEPT = np.random.default_rng(0).random((3, 4)) < 0.5


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int32, np.float32])
@pytest.mark.parametrize("rescale", [True, False])
def test_masks_of_any_dtype(dtype, rescale):
    found = mask.restore(BASE, {"a": {"kernel": KEPT.astype(dtype)}}, {}, rescale=rescale)
    alpha = np.sqrt(KEPT.mean()) if rescale else 1.0
    expected = np.asarray(BASE["params"]["a"]["kernel"]) * KEPT / alpha
    np.testing.assert_allclose(found["params"]["a"]["kernel"], expected, rtol=1e-6)
    np.testing.assert_array_equal(found["params"]["b"], BASE["params"]["b"])


def test_signs_are_not_rescaled():
    signs = np.where(KEPT, 1, -1).astype(np.int8)
    found = mask.restore(BASE, {"a": {"kernel": signs}}, {})
    expected = np.asarray(BASE["params"]["a"]["kernel"]) * signs
    np.testing.assert_array_equal(found["params"]["a"]["kernel"], expected)


def test_an_array_comes_first_then_its_update_then_its_mask():
    new = np.full((3, 4), 2.0, np.float32)
    a, b = np.ones((3, 1), np.float32), np.arange(4.0, dtype=np.float32)[None]
    arrays = {"params": {"a": {"kernel": new}, "head": {"bias": np.ones(2, np.float32)}},
              "low_rank": {"a": {"kernel": {"a": a, "b": b}}},
              "batch_stats": {"a": {"mean": np.ones(2, np.float32)}}}  # fmt: skip
    restore = jax.jit(lambda masks: mask.restore(BASE, masks, arrays, low_rank_scale=0.5))
    found = restore({"a": {"kernel": KEPT}})
    expected = (new + 0.5 * a @ b) * KEPT / np.sqrt(KEPT.mean())
    np.testing.assert_allclose(found["params"]["a"]["kernel"], expected, rtol=1e-6)
    np.testing.assert_array_equal(found["params"]["head"]["bias"], [1, 1])
    np.testing.assert_array_equal(found["batch_stats"]["a"]["mean"], [1, 1])


@pytest.mark.parametrize(
    ("masks", "arrays", "message"),
    [
        ({"c": KEPT}, {}, "a mask for 'c'"),
        ({"b": KEPT}, {}, "belongs to another network"),
        ({}, {"low_rank": {"c": {"a": KEPT, "b": KEPT}}}, "a low-rank update for 'c'"),
        ({}, {"low_rank": {"b": {"a": KEPT}}}, "two factors"),
        ({}, {"low_rank": {"b": {"a": np.ones((1, 1)), "b": np.ones((1, 1))}}}, "has shape"),
    ],
)
def test_what_belongs_to_another_network_is_refused(masks, arrays, message):
    with pytest.raises(InputError, match=message):
        mask.restore(BASE, masks, arrays)
