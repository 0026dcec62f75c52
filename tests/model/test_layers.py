import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmask.errors import InputError
from jaxmask.model import layers


@pytest.mark.parametrize(
    ("count", "width", "expected"), [(64, 1.0, 64), (64, 0.5, 32), (16, 1.3, 21), (16, 0.01, 1)]
)
def test_width_rounds_and_keeps_one_channel(count, width, expected):
    assert layers.scaled(count, width) == expected


def test_strided_convolution_pads_evenly():
    """The first output pixel of a strided 3x3 lies at the image's first pixel, as in PyTorch."""
    x = jnp.zeros((1, 4, 4, 1)).at[0, 0, 0, 0].set(1.0)
    kernel = jnp.arange(9.0).reshape(3, 3, 1, 1)
    conv = layers.conv(1, 3, 2, name="conv", dtype=jnp.float32)
    y = conv.apply({"params": {"kernel": kernel}}, x)
    np.testing.assert_array_equal(y[0, :, :, 0], [[4.0, 0.0], [0.0, 0.0]])


def test_fan_in_is_a_normal_with_tails():
    kernel = layers.fan_in(jax.random.key(0), (3, 3, 64, 128), jnp.float32)
    std = np.sqrt(2 / (9 * 64))
    assert abs(kernel.std() / std - 1) < 0.02
    assert jnp.abs(kernel).max() > 3 * std  # Flax's own kaiming_normal ends at 2.3


def test_fan_out_counts_the_outputs():
    kernel = layers.fan_out(jax.random.key(0), (3, 3, 64, 128), jnp.float32)
    assert abs(kernel.std() / np.sqrt(2 / (9 * 128)) - 1) < 0.02


def test_norm_keeps_nine_tenths_of_its_statistics():
    x = jnp.full((4, 2, 2, 1), 3.0) + jnp.array([-1.0, 1.0, -1.0, 1.0])[:, None, None, None]
    norm = layers.norm(True, name="bn", dtype=jnp.float32)
    variables = {
        "params": {"scale": jnp.ones(1), "bias": jnp.zeros(1)},
        "batch_stats": {"mean": jnp.zeros(1), "var": jnp.full(1, 2.0)},
    }
    y, update = norm.apply(variables, x, mutable=["batch_stats"])
    np.testing.assert_allclose(update["batch_stats"]["mean"], 0.1 * 3.0, rtol=1e-6)
    np.testing.assert_allclose(update["batch_stats"]["var"], 0.9 * 2.0 + 0.1 * 1.0, rtol=1e-6)
    np.testing.assert_allclose(y[1], 1 / np.sqrt(1 + 1e-5), rtol=1e-6)


def test_halve_drops_an_odd_last_row():
    x = jnp.arange(15.0).reshape(1, 3, 5, 1)
    np.testing.assert_array_equal(layers.halve(x)[0, :, :, 0], [[6.0, 8.0]])


def test_average_of_bfloat16_is_float32():
    x = jnp.array([256.0, 1.0], jnp.bfloat16).reshape(1, 1, 2, 1)
    y = layers.average(x)
    assert y.dtype == jnp.float32
    assert y[0, 0] == 128.5  # 128 in bfloat16


def test_classify_returns_the_features_or_the_logits():
    class Head(nn.Module):
        @nn.compact
        def __call__(self, x, features):
            return layers.classify(x, 3, features)

    x = jnp.ones((2, 4), jnp.bfloat16)
    logits, variables = Head().init_with_output(jax.random.key(0), x, False)
    assert logits.shape == (2, 3)
    assert logits.dtype == jnp.float32
    assert list(variables["params"]) == ["head"]
    features = Head().apply(variables, x, True)
    assert features.dtype == jnp.float32
    np.testing.assert_array_equal(features, np.ones((2, 4)))


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.zeros((16, 16, 3), np.float32), "images .B, H, W, C., not float32 of shape"),
        (np.zeros((1, 16, 16, 3), np.uint8), "not uint8"),
        (np.zeros((1, 16, 8, 3), np.float32), "16x8 pixels are too small.*at least 12x12"),
    ],
)
def test_images_that_do_not_fit(x, message):
    with pytest.raises(InputError, match=message):
        layers.images(x, jnp.float32, least=12)
