"""The estimator: hard forward, identity backward."""

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


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize("hard_dtype", [bool, jnp.int32, jnp.float32])
def test_forward_is_the_mask_backward_the_identity(dtype, hard_dtype):
    scores = jnp.array([-1.0, 0.5, 2.0], dtype)
    hard = jnp.array([0, 1, 1], hard_dtype)
    out, pull = jax.vjp(mask.straight_through, scores, hard)
    chex.assert_trees_all_equal(out, jnp.array([0, 1, 1], dtype), strict=True)
    arriving = jnp.array([3.0, -2.0, 0.0], dtype)
    gradient, zero = pull(arriving)
    chex.assert_trees_all_equal(gradient, arriving, strict=True)
    if hard_dtype == jnp.float32:
        chex.assert_trees_all_equal(zero, jnp.zeros(3), strict=True)
    else:
        chex.assert_type(zero, jax.dtypes.float0)
        chex.assert_shape(zero, (3,))


numbers = npst.arrays(np.float32, (2, 3), elements=st.floats(width=32, allow_nan=False))


@given(numbers, npst.arrays(bool, (2, 3)), numbers)
@settings(max_examples=20)
def test_whatever_arrives_goes_through_unchanged(variant, scores, hard, arriving):
    @variant
    def through(scores, hard, arriving):
        out, pull = jax.vjp(mask.straight_through, scores, hard)
        return out, pull(arriving)[0]

    expected = (hard.astype(np.float32), arriving)
    chex.assert_trees_all_equal(through(scores, hard, arriving), expected, strict=True)


def test_a_hard_mask_made_of_the_scores_adds_no_gradient():
    def loss(s):
        return jnp.sum(mask.straight_through(s, jnp.round(3 * s)) * jnp.arange(2.0))

    assert jax.grad(loss)(jnp.array([0.4, 0.6])).tolist() == [0, 1]


class TestDerivatives(chex.TestCase):
    """Of first and second order, compiled or not, of arrays from anywhere."""

    s = np.linspace(-1, 1, 5, dtype=np.float32)
    m = np.float32(s > 0)

    @staticmethod
    def loss(s):
        return jnp.sum(mask.straight_through(s, s > 0) ** 2 * s)

    @chex.all_variants(with_pmap=False)
    def test_first_by_the_product_rule(self):
        # m^2 + 2 m s, with dm/ds = 1
        found = self.variant(jax.grad(self.loss))(self.s)
        chex.assert_trees_all_close(found, self.m + 2 * self.m * self.s, rtol=1e-6)

    @chex.all_variants(with_pmap=False)
    def test_vmap_equals_a_loop(self):
        gradient = jax.grad(self.loss)
        found = self.variant(jax.vmap(gradient))(np.stack([self.s, -self.s]))
        each = jnp.stack([gradient(self.s), gradient(-self.s)])
        chex.assert_trees_all_equal(found, each, strict=True)

    @chex.all_variants(with_pmap=False)
    def test_reverse_over_reverse_as_hessian_vector_products_need_it(self):
        product = jax.grad(lambda s: jax.grad(self.loss)(s) @ jnp.ones(5))
        chex.assert_trees_all_close(
            self.variant(product)(self.s), 4 * self.m + 2 * self.s, rtol=1e-6
        )


def test_wrong_shapes_and_dtypes():
    with pytest.raises(InputError, match="shape"):
        mask.straight_through(jnp.ones(2), jnp.ones(3, bool))
    with pytest.raises(InputError, match="int32"):
        mask.straight_through(jnp.ones(2, jnp.int32), jnp.ones(2, bool))
