"""A ReLU network of two layers with cross-entropy, in JAX and, with its gradient, by hand."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxmask import score
from jaxmask.loss import cross_entropy

EXAMPLES, INPUTS, HIDDEN, CLASSES = 11, 4, 6, 3


def weights(seed=0, dtype=np.float64):
    rng = np.random.default_rng(seed)

    def layer(inputs, outputs):
        kernel = rng.normal(size=(inputs, outputs)) / np.sqrt(inputs)
        return {"bias": 0.3 * rng.normal(size=outputs), "kernel": kernel}

    w = {"first": layer(INPUTS, HIDDEN), "second": layer(HIDDEN, CLASSES)}
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), w)


def batch(count=EXAMPLES, dtype=np.float64):
    rng = np.random.default_rng(1)
    x = jnp.asarray(rng.normal(size=(count, INPUTS)), dtype)
    return x, jnp.asarray(rng.integers(0, CLASSES, count))


def forward(w, x):
    hidden = jax.nn.relu(x @ w["first"]["kernel"] + w["first"]["bias"])
    return hidden @ w["second"]["kernel"] + w["second"]["bias"]


def loss(w, x, y):
    return jnp.mean(cross_entropy(forward(w, x), y))


def gradient(w, x, y):
    """The gradient of `loss` in NumPy: backpropagation by hand."""
    w, x, y = jax.tree.map(np.asarray, (w, x, y))
    before = x @ w["first"]["kernel"] + w["first"]["bias"]
    hidden = np.maximum(before, 0)
    logits = hidden @ w["second"]["kernel"] + w["second"]["bias"]
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    by_logits = (shares - np.eye(CLASSES)[y]) / len(x)
    by_before = (by_logits @ w["second"]["kernel"].T) * (before > 0)
    return {
        "first": {"bias": by_before.sum(axis=0), "kernel": x.T @ by_before},
        "second": {"bias": by_logits.sum(axis=0), "kernel": hidden.T @ by_logits},
    }


def moved(w, direction, step):
    return jax.tree.map(lambda w, d: np.asarray(w) + step * np.asarray(d), w, direction)


def curvature(w, direction, *data, step=1e-5):
    """The Hessian of `loss` times a direction, by central differences of `gradient`."""
    above, below = (gradient(moved(w, direction, s), *data) for s in (step, -step))
    return jax.tree.map(lambda a, b: (a - b) / (2 * step), above, below)


def flat(tree):
    return np.concatenate([np.asarray(leaf).reshape(-1) for leaf in jax.tree.leaves(tree)])


def unflat(vector, like):
    leaves, structure = jax.tree.flatten(like)
    pieces = np.split(vector, np.cumsum([leaf.size for leaf in leaves])[:-1])
    return jax.tree.unflatten(structure, [p.reshape(l.shape) for p, l in zip(pieces, leaves)])


def hessian(w, *data):
    """The whole matrix, row by row, in the order of `flat`."""
    return np.stack([flat(curvature(w, unflat(unit, w), *data)) for unit in np.eye(flat(w).size)])


def agree(found, expected, rtol=1e-10, atol=1e-13):
    """Two trees of one structure, shapes and dtypes hold the same numbers, all finite."""
    chex.assert_tree_all_finite(found)
    chex.assert_trees_all_equal_shapes_and_dtypes(found, expected)
    chex.assert_trees_all_close(found, expected, rtol=rtol, atol=atol)


def stacked(trees):
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def row(tree, index):
    return jax.tree.map(lambda leaf: leaf[index], tree)


# Scorers made from a loss, by name: those that look at data, and those that do not.
DRIVEN = {
    "fisher": score.fisher,
    "gradient_norm": score.gradient_norm,
    "grasp": score.grasp,
    "grasp, absolute": functools.partial(score.grasp, absolute=True),
    "movement": score.movement,
    "optimal_brain_damage": score.optimal_brain_damage,
    "optimal_brain_damage, estimated": functools.partial(score.optimal_brain_damage, samples=3),
    "snip": score.snip,
}
FREE = {
    "magnitude": lambda loss: score.magnitude(),
    "random": lambda loss: score.random(jax.random.key(3)),
    "synflow": lambda loss: score.synflow(lambda w: sum(map(jnp.sum, jax.tree.leaves(w))) ** 2),
}
