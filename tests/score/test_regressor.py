"""Regressors as arrays, against numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxmask import score

pytestmark = pytest.mark.usefixtures("quick_compilation")
RANDOM = np.random.default_rng(5)


def test_linear_is_an_affine_map():
    x, c = RANDOM.normal(size=(7, 3)).astype(np.float32), RANDOM.normal(size=3)
    np.testing.assert_allclose(score.regressor.linear(c, -0.5)(x), x @ c - 0.5, atol=1e-6)


def fall(nodes, row, at=0):
    """The leaf of a row, node by node."""
    feature, threshold, left, right = nodes
    while left[at] != at:
        at = left[at] if row[feature[at]] <= threshold[at] else right[at]
    return at


def grown(rng, inner):
    """A random binary tree with `inner` nodes that are split: (nodes, depth)."""
    feature, threshold, left, right, level = [0], [0.0], [0], [0], [0]
    for _ in range(inner):
        node = rng.choice([i for i, to in enumerate(left) if to == i])
        feature[node], threshold[node] = int(rng.integers(3)), float(rng.integers(-2, 3))
        left[node], right[node] = len(left), len(left) + 1
        for _ in range(2):
            left.append(len(left))
            right.append(len(right))
            feature.append(0)
            threshold.append(0.0)
            level.append(level[node] + 1)
    return [np.array(each) for each in (feature, threshold, left, right)], max(level)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=10)
def test_rows_fall_through_each_tree_and_values_add_up(seed):
    rng = np.random.default_rng(seed)
    made = [grown(rng, int(rng.integers(0, 6))) for _ in range(3)]
    size = 11  # one shape for all examples, filled up
    columns = [
        np.stack([np.pad(nodes[i], (0, size - len(nodes[i]))) for nodes, _ in made])
        for i in range(4)
    ]
    value = rng.normal(size=(3, size)).astype(np.float32)
    x = rng.integers(-2, 3, (20, 3)).astype(np.float32)  # many are equal to a threshold
    found = score.regressor.trees(*columns, value, [depth for _, depth in made], 0.25)(x)
    wanted = [
        0.25 + sum(value[t, fall(nodes, row)] for t, (nodes, _) in enumerate(made)) for row in x
    ]
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


def test_a_perceptron_is_relu_layers_and_a_sigmoid():
    x = RANDOM.normal(size=(5, 4))
    kernels = [RANDOM.normal(size=shape) for shape in ((4, 6), (6, 3), (3, 1))]
    biases = [RANDOM.normal(size=size) for size in (6, 3, 1)]
    h = x
    for kernel, bias in zip(kernels[:2], biases[:2]):
        h = np.maximum(h @ kernel + bias, 0)
    wanted = 1 / (1 + np.exp(-(h @ kernels[2] + biases[2])[:, 0]))
    found = score.regressor.mlp(kernels, biases)(jnp.asarray(x, jnp.float32))
    np.testing.assert_allclose(found, wanted, rtol=1e-5)


@pytest.mark.parametrize("kind", ["linear", "trees", "mlp"])
def test_other_numbers_of_the_same_shapes_compile_nothing(kind):
    def made(a):
        if kind == "linear":
            return score.regressor.linear([a, 1.0])
        if kind == "mlp":
            return score.regressor.mlp([jnp.full((2, 1), a)], [jnp.zeros(1)])
        nodes = [[0, 0, 0]], [[a, 0, 0]], [[1, 1, 2]], [[2, 1, 2]], [[0, a, 1]]
        return score.regressor.trees(*nodes, [1])

    traced = []

    @jax.jit
    def predict(regressor, x):
        traced.append(1)
        return regressor(x)

    for a in (0.5, 2.0):
        predict(made(a), jnp.ones((3, 2)))
    assert len(traced) == 1
