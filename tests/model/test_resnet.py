import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmask import model


@pytest.mark.parametrize(
    ("name", "options", "count"),
    [
        ("resnet18", {"classes": 1000}, 11_689_512),
        ("resnet34", {"classes": 1000}, 21_797_672),
        ("resnet50", {"classes": 1000}, 25_557_032),
        ("resnet18", {"classes": 10, "stem": "cifar"}, 11_173_962),
    ],
)
def test_published_parameter_count(name, options, count):
    module = model.create(name, **options)
    shapes = jax.eval_shape(lambda k: model.initialize(module, k, (32, 32, 3)), jax.random.key(0))
    assert model.count(shapes["params"]) == count


def test_layers_are_named_as_in_torchvision(shapes):
    basic = shapes("resnet18", (32, 32, 3), classes=10)
    assert basic["conv1/kernel"] == (7, 7, 3, 64)
    assert basic["layer2_0/downsample_conv/kernel"] == (1, 1, 64, 128)
    assert basic["layer2_0/downsample_bn/scale"] == (128,)
    assert "layer1_0/downsample_conv/kernel" not in basic
    assert "layer2_1/downsample_conv/kernel" not in basic
    bottleneck = shapes("resnet50", (32, 32, 3), classes=10)
    assert bottleneck["layer1_0/downsample_conv/kernel"] == (1, 1, 64, 256)
    assert bottleneck["layer4_2/conv3/kernel"] == (1, 1, 512, 2048)
    assert bottleneck["head/kernel"] == (2048, 10)
    assert shapes("resnet50", (32, 32, 3), classes=10, stem="cifar")["conv1/kernel"][:2] == (3, 3)


@pytest.mark.parametrize(
    ("stem", "size", "expected"), [("imagenet", 64, (2, 2)), ("cifar", 32, (4, 4))]
)
def test_stem_decides_the_last_map(stem, size, expected, random_variables):
    module = model.create("resnet18", classes=10, width=0.1, stem=stem)
    variables = random_variables(module, (size, size, 3))
    _, state = jax.eval_shape(
        lambda v, x: module.apply(v, x, capture_intermediates=True),
        variables,
        jnp.zeros((1, size, size, 3)),
    )
    assert state["intermediates"]["layer4_1"]["__call__"][0].shape[1:3] == expected


def test_bottleneck_strides_its_3x3(random_variables):
    module = model.create("resnet50", classes=10, width=0.1, stem="cifar")
    variables = random_variables(module, (8, 8, 3))
    _, state = jax.eval_shape(
        lambda v, x: module.apply(v, x, capture_intermediates=True),
        variables,
        jnp.zeros((1, 8, 8, 3)),
    )
    block = state["intermediates"]["layer2_0"]
    assert [block[f"conv{i}"]["__call__"][0].shape[1] for i in (1, 2, 3)] == [8, 4, 4]


def test_convolutions_are_initialized_by_fan_out():
    module = model.create("resnet18", classes=10, width=0.5, stem="cifar")

    @jax.jit  # what is not returned is neither computed nor compiled
    def kernel(key):  # of 32 -> 64 channels
        variables = model.initialize(module, key, (8, 8, 3))
        return variables["params"]["layer2_0"]["conv1"]["kernel"]

    assert abs(np.std(kernel(jax.random.key(0))) / np.sqrt(2 / (9 * 64)) - 1) < 0.05
