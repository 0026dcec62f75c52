"""The estimator: hard forward, identity backward."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmask import mask
from jaxmask.errors import InputError


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize("hard_dtype", [bool, jnp.int32, jnp.float32])
def test_forward_is_the_mask_backward_the_identity(dtype, hard_dtype):
    scores = jnp.array([-1.0, 0.5, 2.0], dtype)
    hard = jnp.array([0, 1, 1], hard_dtype)
    out, pull = jax.vjp(mask.straight_through, scores, hard)
    assert out.dtype == dtype
    assert out.tolist() == [0, 1, 1]
    gradient, zero = pull(jnp.array([3.0, -2.0, 0.0], dtype))
    assert gradient.tolist() == [3, -2, 0]
    if hard_dtype == jnp.float32:
        assert zero.tolist() == [0, 0, 0]
    else:
        assert zero.dtype == jax.dtypes.float0
        assert zero.shape == (3,)


def test_a_hard_mask_made_of_the_scores_adds_no_gradient():
    def loss(s):
        return jnp.sum(mask.straight_through(s, jnp.round(3 * s)) * jnp.arange(2.0))

    assert jax.grad(loss)(jnp.array([0.4, 0.6])).tolist() == [0, 1]


def test_jit_vmap_and_second_derivatives():
    def loss(s):
        return jnp.sum(mask.straight_through(s, s > 0) ** 2 * s)

    s = jnp.linspace(-1, 1, 5)
    # m^2 + 2 m s by the product rule, with dm/ds = 1
    expected = np.where(s > 0, 1 + 2 * s, 0)
    np.testing.assert_allclose(jax.grad(loss)(s), expected, rtol=1e-6)
    np.testing.assert_allclose(jax.jit(jax.grad(loss))(s), expected, rtol=1e-6)
    stacked = jax.vmap(jax.grad(loss))(jnp.stack([s, -s]))
    np.testing.assert_allclose(stacked[1], jax.grad(loss)(-s))
    # reverse over reverse, as Hessian-vector products through masks need
    hvp = jax.grad(lambda s: jax.grad(loss)(s) @ jnp.ones(5))(s)
    m = (s > 0).astype(jnp.float32)
    np.testing.assert_allclose(hvp, 4 * m + 2 * s, rtol=1e-6)


def test_wrong_shapes_and_dtypes():
    with pytest.raises(InputError, match="shape"):
        mask.straight_through(jnp.ones(2), jnp.ones(3, bool))
    with pytest.raises(InputError, match="int32"):
        mask.straight_through(jnp.ones(2, jnp.int32), jnp.ones(2, bool))
