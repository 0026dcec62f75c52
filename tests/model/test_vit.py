import jax
import pytest

from jaxmask import model


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("vit_ti16", 5_717_416),
        ("vit_s16", 22_050_664),
        ("vit_s32", 22_878_952),
        ("vit_b16", 86_567_656),
        ("vit_b32", 88_224_232),
        ("vit_l16", 304_326_632),
    ],
)
def test_published_parameter_count(name, count):
    module = model.create(name, classes=1000)
    shapes = jax.eval_shape(lambda k: model.initialize(module, k, (224, 224, 3)), jax.random.key(0))
    assert model.count(shapes["params"]) == count
    assert shapes["batch_stats"] == {}


def test_layers(shapes):
    got = shapes("vit_b32", (64, 96, 3), classes=10)
    assert got["patch/kernel"] == (32, 32, 3, 768)
    assert got["position"] == (1 + 2 * 3, 768)
    assert got["class_token"] == (768,)
    assert got["block11/query/kernel"] == (768, 768)
    assert got["block0/fc1/kernel"] == (768, 3072)
    assert got["head/kernel"] == (768, 10)


def test_width_is_that_of_the_heads(shapes):
    got = shapes("vit_ti16", (16, 16, 3), classes=10, width=0.25)
    assert got["block0/value/kernel"] == (3 * 16, 3 * 16)
    assert got["block0/fc2/kernel"] == (4 * 3 * 16, 3 * 16)
