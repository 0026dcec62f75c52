"""MobileNetV2 and EfficientNet-Lite: sizes, blocks, numerics; here with few channels and blocks."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmask import mask, model
from jaxmask.model import layers, mobile

STAGES = (mobile.Stage(1, 16, 3, 1, 1), mobile.Stage(2, 24, 5, 2, 6))
SHAPE = (9, 12, 3)


def few_blocks(**options):
    return mobile.MobileNetV2(3, 0.25, stages=STAGES, **options)


@pytest.mark.parametrize(
    ("size", "counts", "channels"),
    [
        (0, (1, 2, 2, 3, 3, 4, 1), (16, 24, 40, 80, 112, 192, 320)),
        (1, (1, 3, 3, 4, 4, 5, 1), (16, 24, 40, 80, 112, 192, 320)),
        (2, (1, 3, 3, 4, 4, 5, 1), (16, 24, 48, 88, 120, 208, 352)),
        (3, (1, 3, 3, 5, 5, 6, 1), (24, 32, 48, 96, 136, 232, 384)),
        (4, (1, 4, 4, 6, 6, 8, 1), (24, 32, 56, 112, 160, 272, 448)),
    ],
)
def test_sizes_of_efficientnet_lite(size, counts, channels):
    """As TensorFlow's own formulas give them."""
    stages = mobile.efficientnet_lite(*mobile.LITE[size])
    assert tuple(stage.blocks for stage in stages) == counts
    assert tuple(stage.channels for stage in stages) == channels


def test_layers_of_a_block():
    shapes = jax.eval_shape(lambda k: model.initialize(few_blocks(), k, SHAPE), jax.random.key(0))[
        "params"
    ]
    kernels = {
        path: mask.describe(shapes)[f"{path}/kernel"]
        for path in ("block1_0/depthwise_conv", "block2_1/expand_conv", "block2_1/depthwise_conv")
    }
    assert set(kernels.values()) == {"window window in out"}
    assert shapes["block1_0"]["depthwise_conv"]["kernel"].shape == (3, 3, 1, 8)
    assert "expand_conv" not in shapes["block1_0"]
    assert shapes["block2_0"]["expand_conv"]["kernel"].shape == (1, 1, 4, 24)
    assert shapes["block2_1"]["depthwise_conv"]["kernel"].shape == (5, 5, 1, 36)
    assert shapes["block2_1"]["project_conv"]["kernel"].shape == (1, 1, 36, 6)
    assert shapes["head"]["kernel"].shape == (320, 3)


def test_forward_and_gradient(random_variables):
    module = few_blocks()
    variables = random_variables(module, SHAPE)
    x = np.random.default_rng(0).normal(size=(4, *SHAPE)).astype(np.float32)

    @jax.jit
    def gradient(params):
        def loss(params):
            logits, changed = module.apply(
                {**variables, "params": params}, x, train=True, mutable=["batch_stats"]
            )
            return jnp.mean(jax.nn.log_softmax(logits)[:, 0]), (logits, changed)

        return jax.grad(loss, has_aux=True)(params)

    found, (logits, changed) = gradient(variables["params"])
    assert logits.shape == (4, 3)
    for path, leaf in jax.tree_util.tree_leaves_with_path(found):
        assert np.isfinite(leaf).all(), path
        assert np.any(leaf != 0), path
    moved = jax.tree.map(lambda a, b: bool((a != b).any()), changed, {"batch_stats":
                         variables["batch_stats"]})  # fmt: skip
    assert all(jax.tree.leaves(moved))


def test_activations_are_of_one_dtype_and_logits_no_narrower_than_float32(random_variables):
    variables = random_variables(few_blocks(), SHAPE)
    x = np.zeros((1, *SHAPE), np.float32)
    program = jax.make_jaxpr(few_blocks(dtype=jnp.bfloat16).apply)(variables, x)
    found = re.findall(r":(\w+)\[[\d,]*\] = (?:conv_general_dilated|dot_general)", str(program))
    assert (set(found[:-1]), found[-1]) == ({"bf16"}, "f32")
    with jax.enable_x64(True):
        doubles = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), variables)
        apply = few_blocks(dtype=jnp.float64).apply
        assert "f32[" not in str(jax.make_jaxpr(apply)(doubles, x.astype(np.float64)))


def test_all_blocks_but_the_first_of_a_stage_add_their_input(random_variables):
    """Also where a small width gives two stages as many channels."""
    x = np.ones((1, 4, 4, 2), np.float32)
    for first in (True, False):
        stage = mobile.Stage(2, 2, 3, 1, 6)
        block = mobile.InvertedResidual(stage, 2, first, mobile.PYTORCH, jnp.float32)
        shapes = jax.eval_shape(lambda block=block: block.init(jax.random.key(0), x, False))
        zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
        np.testing.assert_array_equal(block.apply(zeros, x, False), 0 * x if first else x)


def test_kernels_are_initialized_by_the_fan_out_of_a_group():
    module = mobile.MobileNetV2(3, 4.0, stages=STAGES)

    @jax.jit  # what is not returned is neither computed nor compiled
    def kernels(key):
        params = model.initialize(module, key, SHAPE)["params"]
        return [params["block2_1"][f"{part}_conv"]["kernel"] for part in ("depthwise", "project")]

    depthwise, project = kernels(jax.random.key(0))
    assert abs(np.std(depthwise) / np.sqrt(2 / 25) - 1) < 0.05
    assert abs(np.std(project) / np.sqrt(2 / 96) - 1) < 0.05


def test_relu6_and_its_derivative():
    x = jnp.array([-1.0, 0.0, 0.5, 7.0])
    np.testing.assert_array_equal(layers.relu6(x), [0, 0, 0.5, 6])
    slope = jax.vmap(jax.grad(layers.relu6))(x)
    np.testing.assert_array_equal(slope, [0, 0, 1, 0])


@pytest.mark.parametrize("side", [5, 6])
def test_tensorflows_padding(side):
    """A strided window of an even side starts at the first pixel, of an odd one before it."""
    x = jnp.arange(1.0, side + 1).reshape(1, side, 1, 1) * jnp.ones((1, 1, side, 1))
    conv = layers.conv(1, 3, 2, name="conv", dtype="float32", padding="SAME")
    kernel = jnp.zeros((3, 3, 1, 1)).at[0, 1].set(1)  # the pixel above the window's middle
    found = conv.apply({"params": {"kernel": kernel}}, x)
    rows = [0, 2, 4] if side == 5 else [1, 3, 5]
    np.testing.assert_array_equal(found[0, :, 1, 0], rows)
