"""Regressors as arrays, for `score.learned`: float32 features [N, F] -> float32 [N].

Each is a `jax.tree_util.Partial`, a pytree: it goes through `jax.jit` as an argument, and another
one of the same shapes needs no compilation.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.tree_util import Partial


def linear(coefficients: Any, intercept: Any = 0.0) -> Partial:
    """`y = x c + b`.

    Args:
      coefficients: c, [F].
      intercept: b.

    Example:
      >>> score.regressor.linear([2.0, 1.0], 0.5)(jnp.array([[1.0, 0.0], [0.0, 3.0]])).tolist()
      [2.5, 3.5]
    """
    return Partial(_linear, _float(coefficients), _float(intercept))


def trees(
    feature: Any, threshold: Any, left: Any, right: Any, value: Any, depth: Any, base: Any = 0.0
) -> Partial:
    """`y = base + sum over T trees of the value of the leaf that x falls into`.

    At node n, a row goes to node `left[n]` if `x[feature[n]] <= threshold[n]`, else to `right[n]`;
    node 0 is the root, and a leaf leads to itself. For the mean of a forest, divide the values
    by T. Trees smaller than the largest are filled up with any nodes.

    Memory is that of a few numbers for each row, however many trees; time is that of
    `sum(depth)` look-ups for each row.

    Args:
      feature: int [T, M].
      threshold: float32 [T, M]. One of float64 must be rounded down, for rows to fall as they do
        there.
      left, right: int [T, M].
      value: float [T, M].
      depth: int [T], of the deepest leaf: a tree that is its root alone has depth 0.
      base: a number.

    Example:
      >>> stump = score.regressor.trees(
      ...     [[1, 0, 0]], [[0.5, 0.0, 0.0]], [[1, 1, 2]], [[2, 1, 2]], [[0.0, -1.0, 7.0]], [1]
      ... )
      >>> stump(jnp.array([[9.0, 0.5], [0.0, 0.6]])).tolist()
      [-1.0, 7.0]
    """
    nodes = (_int(feature), _float(threshold), _int(left), _int(right), _float(value), _int(depth))
    return Partial(_trees, nodes, _float(base))


def mlp(kernels: Sequence[Any], biases: Sequence[Any]) -> Partial:
    """`y = sigmoid(W_n relu(... relu(W_1 x + b_1) ...) + b_n)`: a multi-layer perceptron.

    Args:
      kernels: [F, H_1], [H_1, H_2], ..., [H, 1].
      biases: [H_1], ..., [1].

    Example:
      >>> kernels, biases = [jnp.ones((1, 2)), jnp.ones((2, 1))], [jnp.zeros(2), jnp.zeros(1)]
      >>> found = score.regressor.mlp(kernels, biases)(jnp.array([[1.0], [-1.0]]))
      >>> [round(float(each), 3) for each in found]
      [0.881, 0.5]
    """
    return Partial(_mlp, tuple(map(_float, kernels)), tuple(map(_float, biases)))


def _linear(coefficients: jax.Array, intercept: jax.Array, x: jax.Array) -> jax.Array:
    return _dot(_float(x), coefficients) + intercept


def _trees(nodes: tuple[jax.Array, ...], base: jax.Array, x: jax.Array) -> jax.Array:
    x, rows = _float(x), jnp.arange(len(x))

    def add(total: jax.Array, tree: tuple[jax.Array, ...]) -> tuple[jax.Array, None]:
        feature, threshold, left, right, value, depth = tree

        def down(_: Any, at: jax.Array) -> jax.Array:
            return jnp.where(x[rows, feature[at]] <= threshold[at], left[at], right[at])

        leaf = lax.fori_loop(0, depth, down, jnp.zeros(len(x), jnp.int32))
        return total + value[leaf], None

    return lax.scan(add, jnp.full(len(x), base), nodes)[0]


def _mlp(kernels: tuple[jax.Array, ...], biases: tuple[jax.Array, ...], x: jax.Array) -> jax.Array:
    x = _float(x)
    for kernel, bias in zip(kernels[:-1], biases[:-1]):
        x = jax.nn.relu(_dot(x, kernel) + bias[None])
    return jax.nn.sigmoid(_dot(x, kernels[-1])[:, 0] + biases[-1][0])


def _dot(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """In full float32 also on accelerators: ranks hang on the last bits."""
    return jnp.dot(x, kernel, precision=lax.Precision.HIGHEST)


def _float(x: Any) -> jax.Array:
    return jnp.asarray(x, jnp.float32)


def _int(x: Any) -> jax.Array:
    return jnp.asarray(x, jnp.int32)
