"""Variables with random numbers everywhere, made without compiling an initialiser."""

import jax
import numpy as np
import pytest

from jaxmask import model


def _random_leaf(rng, path, leaf):
    kind = path[-1].key
    if kind == "kernel":
        return rng.normal(size=leaf.shape) / np.sqrt(np.prod(leaf.shape[:-1]))
    if kind in ("scale", "var"):
        return rng.uniform(0.5, 1.5, leaf.shape)
    return 0.1 * rng.normal(size=leaf.shape)  # biases and running means


@pytest.fixture
def random_variables():
    """A function (module, image_shape, seed=0) -> variables with no zeros and ones in them."""

    def make(module, image_shape, seed=0):
        rng = np.random.default_rng(seed)
        shapes = jax.eval_shape(
            lambda key: model.initialise(module, key, image_shape), jax.random.key(0)
        )
        return jax.tree_util.tree_map_with_path(
            lambda path, leaf: _random_leaf(rng, path, leaf).astype(leaf.dtype), shapes
        )

    return make


@pytest.fixture
def shapes():
    """A function (name, image_shape, **options) -> {path: shape} of the parameters, at no cost."""

    def make(name, image_shape, **options):
        module = model.create(name, **options)
        params = jax.eval_shape(
            lambda key: model.initialise(module, key, image_shape), jax.random.key(0)
        )["params"]
        leaves = jax.tree_util.tree_leaves_with_path(params)
        return {"/".join(key.key for key in path): leaf.shape for path, leaf in leaves}

    return make
