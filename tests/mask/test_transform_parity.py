"""The threshold transform against PyTorch's autograd."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmask import mask


@pytest.mark.parity
def test_gradients_equal_pytorch():
    torch = pytest.importorskip("torch")

    class Threshold(torch.autograd.Function):
        @staticmethod
        def forward(ctx, scores):
            return (scores > 0).to(scores.dtype)

        @staticmethod
        def backward(ctx, gradient):
            return gradient

    rng = np.random.default_rng(5)
    s, theta = rng.normal(size=(2, 6, 4)).astype(np.float32)
    x = rng.normal(size=(8, 6)).astype(np.float32)
    scores = torch.tensor(s, requires_grad=True)
    weights = torch.tensor(theta, requires_grad=True)
    m = Threshold.apply(scores)
    effective = weights * m / torch.sqrt(m.sum() / m.numel())
    expected = torch.tanh(torch.tensor(x) @ effective).square().mean()
    expected.backward()

    tx = mask.threshold()

    def loss(scores, weights):
        return jnp.mean(jnp.tanh(x @ tx.apply(scores, weights)["w"]) ** 2)

    value, (by_score, by_weight) = jax.value_and_grad(loss, (0, 1))({"w": s}, {"w": theta})
    np.testing.assert_allclose(value, expected.item(), rtol=1e-6)
    np.testing.assert_allclose(by_score["w"], scores.grad, rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(by_weight["w"], weights.grad, rtol=1e-4, atol=1e-7)
