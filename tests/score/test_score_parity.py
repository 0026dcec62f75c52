"""The scores against a few lines of PyTorch's autograd, in float64 with the same weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from networks import agree

from jaxmask import score
from jaxmask.loss import cross_entropy

pytestmark = pytest.mark.parity


def dense(w, x, matmul, relu, conv):
    return matmul(relu(matmul(x.reshape(len(x), -1), w["a"]) + w["b"]), w["c"])


def convolved(w, x, matmul, relu, conv):
    """Images and kernels in PyTorch's layout, for both."""
    return matmul(relu(conv(relu(conv(x, w["a"])), w["b"])).mean((2, 3)), w["c"])


NETWORKS = {
    "dense": (dense, {"a": (50, 8), "b": (8,), "c": (8, 3)}),
    "convolutions": (convolved, {"a": (4, 2, 3, 3), "b": (5, 4, 3, 3), "c": (5, 3)}),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_scores_equal_torch(name, x64):
    torch = pytest.importorskip("torch")
    network, shapes = NETWORKS[name]
    rng = np.random.default_rng(0)
    w = {leaf: rng.normal(size=shape) / 2 for leaf, shape in shapes.items()}
    x, y = rng.normal(size=(6, 2, 5, 5)), rng.integers(0, 3, 6)

    def ours(w, x):
        return network(w, x, jnp.matmul, jax.nn.relu,
                       lambda x, k: jax.lax.conv_general_dilated(x, k, (1, 1), "SAME"))  # fmt: skip

    def theirs(w, x):
        return network(w, x, torch.matmul, torch.relu,
                       lambda x, k: torch.nn.functional.conv2d(x, k, padding=1))  # fmt: skip

    def loss(w, x, y):
        return jnp.mean(cross_entropy(ours(w, x), y))

    leaves = {leaf: torch.tensor(value, requires_grad=True) for leaf, value in w.items()}
    logits = theirs(leaves, torch.tensor(x))
    value = torch.nn.functional.cross_entropy(logits, torch.tensor(y))
    gradients = torch.autograd.grad(value, list(leaves.values()), create_graph=True)

    sensitivity = [(p * g).detach().abs() for p, g in zip(leaves.values(), gradients)]
    everything = sum(s.sum() for s in sensitivity)
    snip = dict(zip(w, [(s / everything).numpy() for s in sensitivity]))
    agree(score.snip(loss)(w, x, y), snip, rtol=1e-9)

    flow = sum((g.detach() * g).sum() for g in gradients)
    curved = torch.autograd.grad(flow, list(leaves.values()))
    grasp = dict(zip(w, [(p * h).detach().numpy() for p, h in zip(leaves.values(), curved)]))
    agree(score.grasp(loss)(w, x, y), grasp, rtol=1e-9)

    sizes = {leaf: torch.tensor(abs(value), requires_grad=True) for leaf, value in w.items()}
    torch.sum(theirs(sizes, torch.ones(1, *x.shape[1:], dtype=torch.float64))).backward()
    synflow = {leaf: (size.grad * size).detach().numpy() for leaf, size in sizes.items()}
    agree(score.synflow(lambda w: ours(w, jnp.ones((1, *x.shape[1:]))))(w), synflow, rtol=1e-9)
