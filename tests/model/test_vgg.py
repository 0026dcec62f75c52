import jax
import pytest

from jaxmask import model
from jaxmask.errors import InputError

COUNTS = {  # convolutions in each of the five stages, as in the VGG paper's table 1
    "vgg11": (1, 1, 2, 2, 2),
    "vgg13": (2, 2, 2, 2, 2),
    "vgg16": (2, 2, 3, 3, 3),
    "vgg19": (2, 2, 4, 4, 4),
}


def parameters(counts, classes):
    """Kernel, bias, scale and offset of every convolution, then the head."""
    total, inputs = 0, 3
    for channels, count in zip((64, 128, 256, 512, 512), counts):
        for _ in range(count):
            total += 9 * inputs * channels + 3 * channels
            inputs = channels
    return total + (inputs + 1) * classes


def test_formula_gives_the_published_counts():
    assert parameters(COUNTS["vgg16"], 10) == 14_728_266
    assert parameters(COUNTS["vgg19"], 10) == 20_040_522


@pytest.mark.parametrize("name", COUNTS)
def test_parameter_count(name):
    module = model.create(name, classes=10)
    shapes = jax.eval_shape(lambda k: model.initialize(module, k, (32, 32, 3)), jax.random.key(0))
    assert model.count(shapes["params"]) == parameters(COUNTS[name], 10)


def test_layers_are_named_by_stage(shapes):
    got = shapes("vgg11", (16, 16, 3), classes=7)
    assert got["conv1_1/kernel"] == (3, 3, 3, 64)
    assert got["conv3_2/bias"] == (256,)
    assert got["bn5_2/scale"] == (512,)
    assert got["head/kernel"] == (512, 7)


def test_needs_16_pixels(shapes):
    with pytest.raises(InputError, match="8x8 pixels are too small"):
        shapes("vgg16", (8, 8, 3), classes=10)
