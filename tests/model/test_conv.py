import jax
import pytest

from jaxmask import model
from jaxmask.errors import InputError


@pytest.mark.parametrize(
    ("name", "count"), [("conv2", 4_301_642), ("conv4", 2_425_930), ("conv6", 2_262_602)]
)
def test_published_parameter_count(name, count):
    module = model.create(name, classes=10)
    shapes = jax.eval_shape(lambda k: model.initialize(module, k, (32, 32, 3)), jax.random.key(0))
    assert model.count(shapes["params"]) == count
    assert shapes["batch_stats"] == {}


def test_layers_follow_the_image(shapes):
    got = shapes("conv4", (8, 12, 1), classes=10)
    assert [got[f"conv{i}/kernel"][2:] for i in (1, 2, 3, 4)] == [
        (1, 64),
        (64, 64),
        (64, 128),
        (128, 128),
    ]
    assert got["fc1/kernel"] == (2 * 3 * 128, 256)
    assert got["fc2/kernel"] == (256, 256)
    assert got["head/kernel"] == (256, 10)


def test_conv6_needs_8_pixels(shapes):
    assert shapes("conv6", (8, 8, 1), classes=10)["fc1/kernel"] == (256, 256)
    with pytest.raises(InputError, match="7x7 pixels are too small"):
        shapes("conv6", (7, 7, 1), classes=10)
