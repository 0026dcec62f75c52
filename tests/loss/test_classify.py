import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxmask.loss import cross_entropy


def reference(logits, labels, smoothing):
    shifted = logits - logits.max(-1, keepdims=True)
    log_probabilities = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    classes = logits.shape[-1]
    target = (1 - smoothing) * np.eye(classes)[labels] + smoothing / classes
    return -(target * log_probabilities).sum(-1)


@given(st.integers(0, 1000), st.sampled_from([0.0, 0.1, 0.5]))
def test_it_is_the_formula(seed, smoothing):
    random = np.random.default_rng(seed)
    logits, labels = random.normal(0, 5, (7, 4)), random.integers(0, 4, 7)
    ours = cross_entropy(jnp.array(logits, jnp.float32), jnp.array(labels), smoothing)
    np.testing.assert_allclose(ours, reference(logits, labels, smoothing), rtol=2e-5, atol=1e-6)


def test_a_traced_smoothing_is_the_same():
    logits, labels = jnp.arange(12.0).reshape(3, 4), jnp.array([0, 1, 3])
    jitted = jax.jit(cross_entropy)
    for smoothing in (0.0, 0.2):
        np.testing.assert_allclose(
            jitted(logits, labels, smoothing), cross_entropy(logits, labels, smoothing), rtol=1e-6
        )


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_it_is_computed_in_float32(dtype):
    assert cross_entropy(jnp.ones((2, 3), dtype), jnp.array([0, 1])).dtype == jnp.float32
