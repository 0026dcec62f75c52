"""Features of a weight, against numpy, in a small network of Flax."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmask import model, tree
from jaxmask.errors import InputError
from jaxmask.run.composites import feature
from jaxmask.run.criteria import Subject

pytestmark = pytest.mark.usefixtures("quick_compilation")

IMAGES = np.random.default_rng(2).normal(size=(6, 4, 4, 2)).astype(np.float32)


class Small(nn.Module):
    """A convolution and a dense layer."""

    twice: bool = False

    @nn.compact
    def __call__(self, x, train=False):
        x = nn.relu(nn.Conv(3, (2, 2), name="conv")(x))
        x = x.mean((1, 2))
        dense = nn.Dense(3, name="head")
        return dense(dense(x)) if self.twice else dense(x)


def subject(network=None, rules=((".*/kernel", "mask"),)):
    network = network or Small()
    params = model.initialize(network, jax.random.key(1), (4, 4, 2))["params"]
    parts = tree.partition(params, tree.label(params, rules, default="train"))
    at = Subject(model.apply_function(network), parts["train"], {}, jax.random.key(0), (4, 4, 2),
                 4, False)  # fmt: skip
    return at, parts["mask"]


def found(name, network=None, **changes):
    at, w = subject(network)
    scores = jax.jit(feature(name).scorer(at._replace(**changes)))(w, IMAGES, jnp.zeros(6, int))
    assert jax.tree.map(jnp.shape, scores) == jax.tree.map(jnp.shape, w)
    return {path: np.asarray(leaf) for path, leaf in tree.named_leaves(scores).items()}


def kernels():
    return {path: np.asarray(leaf) for path, leaf in tree.named_leaves(subject()[1]).items()}


def convolved():
    """The convolution's outputs, place by place."""
    kernel = kernels()["conv/kernel"]
    padded = np.pad(IMAGES, ((0, 0), (0, 1), (0, 1), (0, 0)))
    out = np.zeros((6, 4, 4, 3))
    for i in range(4):
        for j in range(4):
            out[:, i, j] = np.einsum("nabc,abco->no", padded[:, i : i + 2, j : j + 2], kernel)
    return out


def test_of_the_weights():
    w = kernels()
    for path, leaf in w.items():
        np.testing.assert_array_equal(found("weight")[path], leaf)
        np.testing.assert_allclose(found("norm")[path], np.linalg.norm(leaf), rtol=1e-6)
        rows = leaf.mean(axis=-1, keepdims=True) + 0 * leaf
        np.testing.assert_allclose(found("row_mean")[path], rows, rtol=1e-5, atol=1e-7)
        axes = tuple(range(leaf.ndim - 1))
        columns = leaf.mean(axis=axes, keepdims=True) + 0 * leaf
        np.testing.assert_allclose(found("column_mean")[path], columns, rtol=1e-5, atol=1e-7)


def test_of_activations():
    out = convolved()
    hidden = np.maximum(out, 0).mean((1, 2))
    head = hidden @ kernels()["head/kernel"]
    for name, reduce in (("largest", np.max), ("mean", np.mean)):
        given, made = found(f"input_{name}"), found(f"output_{name}")
        channels = reduce(IMAGES, (0, 1, 2))[None, None, :, None] + np.zeros((2, 2, 2, 3))
        np.testing.assert_allclose(given["conv/kernel"], channels, rtol=1e-4, atol=1e-6)
        channels = reduce(out, (0, 1, 2)) + np.zeros((2, 2, 2, 3))
        np.testing.assert_allclose(made["conv/kernel"], channels, rtol=1e-4, atol=1e-6)
        rows = reduce(hidden, 0)[:, None] + np.zeros((3, 3))
        np.testing.assert_allclose(given["head/kernel"], rows, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(
            made["head/kernel"], reduce(head, 0) + np.zeros((3, 3)), rtol=1e-4, atol=1e-6
        )


def test_of_the_density_to_prune_to():
    assert all((leaf == np.float32(0.05)).all() for leaf in found("density", density=0.05).values())
    with pytest.raises(InputError, match="needs a density"):
        found("density")


def test_what_has_no_activations_of_its_own_is_refused():
    with pytest.raises(
        InputError, match=r"'input_mean' is known of kernels .*'head/kernel' is none"
    ):
        found("input_mean", Small(twice=True))
    at, w = subject(rules=((".*", "mask"),))
    with pytest.raises(InputError, match="'conv/bias' is none"):
        feature("output_mean").scorer(at)(w, IMAGES)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("snip(revive=True)", "of the weights that are left"),
        ("stack(snip(revive=True), magnitude)", "of the weights that are left"),
        ("wieght", "did you mean 'weight'"),
        ("norm(1)", "norm"),
    ],
)
def test_what_is_no_feature_is_refused(text, message):
    with pytest.raises(InputError, match=message):
        feature(text)
