"""Batch statistics re-estimated on given images."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmask import data, model
from jaxmask.errors import InputError
from jaxmask.task import statistics

PREPARE = data.augmentation(mean=(0.4,), std=(0.3,))


def prepare(images):
    return PREPARE(None, images)


@pytest.fixture(scope="module")
def network():
    module = model.create("resnet20", classes=3, width=0.25)
    return module, model.initialize(module, jax.random.key(0), (8, 8, 1))


def images(number):
    return np.random.default_rng(0).integers(0, 256, (number, 8, 8, 1)).astype(np.uint8)


def test_the_first_norm_has_the_moments_of_its_inputs(network):
    """Over all batches together: computed with NumPy from the stem's outputs."""
    module, variables = network
    found = statistics.reestimate(module, variables, prepare, images(32), 16)["batch_stats"]["bn1"]
    x = np.asarray(prepare(jnp.asarray(images(32))), np.float64)
    kernel = np.asarray(variables["params"]["conv1"]["kernel"], np.float64)
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    outputs = sum(
        padded[:, i : i + 8, j : j + 8] @ kernel[i, j] for i in range(3) for j in range(3)
    )
    np.testing.assert_allclose(found["mean"], outputs.mean((0, 1, 2)), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found["var"], outputs.var((0, 1, 2)), rtol=1e-4)


def test_one_batch_gives_what_train_mode_computes(network):
    module, variables = network
    new = statistics.reestimate(module, variables, prepare, images(16), 16)
    x = prepare(jnp.asarray(images(16)))
    trained, _ = module.apply(variables, x, train=True, mutable=["batch_stats"])
    np.testing.assert_allclose(module.apply(new, x), trained, rtol=1e-3, atol=1e-4)
    assert jax.tree.structure(new) == jax.tree.structure(variables)


def test_without_norms_nothing_changes_and_one_image_is_too_few(network):
    module = model.create("lenet_300_100", classes=3, width=0.05)
    variables = model.initialize(module, jax.random.key(0), (8, 8, 1))
    assert statistics.reestimate(module, variables, prepare, images(4)) is variables
    with pytest.raises(InputError, match="at least two"):
        statistics.reestimate(*network, prepare, images(1))
