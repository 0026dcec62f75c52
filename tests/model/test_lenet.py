import jax
import jax.numpy as jnp
import pytest

from jaxmask import model
from jaxmask.errors import InputError


@pytest.mark.parametrize(("name", "count"), [("lenet_300_100", 266_610), ("lenet5", 431_080)])
def test_published_parameter_count(name, count):
    module = model.create(name, classes=10)
    shapes = jax.eval_shape(lambda k: model.initialize(module, k, (28, 28, 1)), jax.random.key(0))
    assert model.count(shapes["params"]) == count
    assert shapes["batch_stats"] == {}


def test_lenet_300_100_layers(shapes):
    assert shapes("lenet_300_100", (8, 8, 1), classes=10, width=0.1) == {
        "fc1/kernel": (64, 30),
        "fc1/bias": (30,),
        "fc2/kernel": (30, 10),
        "fc2/bias": (10,),
        "head/kernel": (10, 10),
        "head/bias": (10,),
    }


def test_lenet5_layers_follow_the_image(shapes):
    got = shapes("lenet5", (32, 32, 3), classes=4)
    assert got["conv1/kernel"] == (5, 5, 3, 20)
    assert got["conv2/kernel"] == (5, 5, 20, 50)
    assert got["fc1/kernel"] == (5 * 5 * 50, 500)
    assert got["head/kernel"] == (500, 4)


def test_lenet5_needs_16_pixels():
    module = model.create("lenet5", classes=10)
    x = jnp.zeros((1, 15, 15, 1))
    with pytest.raises(InputError, match="15x15 pixels are too small"):
        module.init(jax.random.key(0), x)
