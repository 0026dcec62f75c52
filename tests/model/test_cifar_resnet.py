import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmask import model
from jaxmask.model import cifar_resnet


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("resnet20", 269_722),
        ("resnet32", 464_154),
        ("resnet44", 658_586),
        ("resnet56", 853_018),
        ("resnet110", 1_727_962),
    ],
)
def test_published_parameter_count(name, count):
    module = model.create(name, classes=10)
    shapes = jax.eval_shape(lambda k: model.initialize(module, k, (32, 32, 3)), jax.random.key(0))
    assert model.count(shapes["params"]) == count


def test_layers_are_named_as_in_torchvision(shapes):
    got = shapes("resnet20", (32, 32, 3), classes=10)
    convolutions = ["conv1"] + [
        f"layer{stage}_{i}/conv{j}" for stage in (1, 2, 3) for i in range(3) for j in (1, 2)
    ]
    kernels = [path for path in got if path.endswith("/kernel")]
    assert set(kernels) == {f"{name}/kernel" for name in [*convolutions, "head"]}
    assert got["layer2_0/conv1/kernel"] == (3, 3, 16, 32)
    assert got["layer3_2/bn2/scale"] == (64,)


def test_shortcut_subsamples_and_pads_both_sides():
    x = jnp.arange(1.0, 33.0).reshape(1, 4, 4, 2)
    y = cifar_resnet._shortcut(x, 5, 2)
    assert y.shape == (1, 2, 2, 5)
    np.testing.assert_array_equal(y[0, :, :, 1:3], x[0, ::2, ::2])
    np.testing.assert_array_equal(y[0, :, :, [0, 3, 4]], 0.0)
    np.testing.assert_array_equal(cifar_resnet._shortcut(x, 2, 1), x)


@pytest.mark.parametrize("image_shape", [(1, 1, 3), (8, 8, 1), (15, 33, 3)])
def test_images_of_any_size(image_shape, random_variables):
    module = model.create("resnet20", classes=3, width=0.1)
    variables = random_variables(module, image_shape)
    logits = jax.eval_shape(module.apply, variables, jnp.zeros((2, *image_shape)))
    assert logits.shape == (2, 3)
