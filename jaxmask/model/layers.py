"""Shared by all families: initializers, a convolution, a batch norm, the head.

The functions here are called inside a module's `__call__`, where Flax makes what they build a
part of that module. Numerics are PyTorch's, so that its weights can be loaded: padding is
explicit and symmetric ("SAME" would pad a strided 3x3 on one side only), but for networks that
TensorFlow trained.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxmask.errors import InputError

# He et al., Delving deep into rectifiers, 2015. A plain normal: Flax's `kaiming_normal`
# truncates the tails, PyTorch's does not.
fan_in = nn.initializers.variance_scaling(2.0, "fan_in", "normal")
fan_out = nn.initializers.variance_scaling(2.0, "fan_out", "normal")


def scaled(count: int, width: float) -> int:
    """`count` channels scaled by `width`: rounded, at least 1."""
    return max(1, round(count * width))


def images(x: jax.Array, dtype: DTypeLike, least: int = 1) -> jax.Array:
    """Images [B, H, W, C] in the compute dtype, after checking that they fit the network.

    Args:
        x: what the network was called with.
        dtype: the compute dtype.
        least: the smallest height and width that leave something after the network's pools.
    """
    if x.ndim != 4 or not jnp.issubdtype(x.dtype, jnp.floating):
        raise InputError(
            f"a network takes floating point images [B, H, W, C], not {x.dtype} of shape "
            f"{x.shape}; normalize integers first"
        )
    if min(x.shape[1:3]) < least:
        raise InputError(
            f"images of {x.shape[1]}x{x.shape[2]} pixels are too small for this network's pools; "
            f"give at least {least}x{least} or use a residual network"
        )
    return x.astype(dtype)


def conv(
    channels: int,
    size: int,
    stride: int = 1,
    *,
    name: str,
    dtype: DTypeLike,
    bias: bool = False,
    padding: int | str | None = None,
    groups: int = 1,
    init: nn.initializers.Initializer = fan_in,
) -> nn.Conv:
    """A square convolution; `padding=None` pads (size - 1) / 2 pixels on all four sides.

    `padding="SAME"` is TensorFlow's. Each of `groups` has its own inputs and outputs; with as many
    as channels the kernel is [size, size, 1, channels] and the convolution depthwise.
    """
    padding = (size - 1) // 2 if padding is None else padding
    return nn.Conv(
        channels,
        (size, size),
        (stride, stride),
        padding=padding if isinstance(padding, str) else ((padding, padding), (padding, padding)),
        feature_group_count=groups,
        use_bias=bias,
        dtype=dtype,
        kernel_init=init,
        name=name,
    )


def dense(units: int, *, name: str, dtype: DTypeLike) -> nn.Dense:
    """A dense layer with a bias."""
    return nn.Dense(units, dtype=dtype, kernel_init=fan_in, name=name)


def norm(train: bool, *, name: str, dtype: DTypeLike, epsilon: float = 1e-5) -> nn.BatchNorm:
    """Batch norm over B, H, W; its running statistics have momentum 0.9 (0.1 in PyTorch)."""
    return nn.BatchNorm(
        use_running_average=not train, momentum=0.9, epsilon=epsilon, dtype=dtype, name=name
    )


def relu6(x: jax.Array) -> jax.Array:
    """min(max(x, 0), 6), whose derivative at 0 is 0 as in PyTorch; `nn.relu6` has 1/2 there."""
    return jnp.minimum(nn.relu(x), 6.0)


def halve(x: jax.Array) -> jax.Array:
    """Max pool 2x2 with stride 2; an odd last row or column is dropped."""
    return nn.max_pool(x, (2, 2), (2, 2))


def flatten(x: jax.Array) -> jax.Array:
    """[B, H, W, C] -> [B, H * W * C]."""
    return x.reshape(x.shape[0], -1)


def average(x: jax.Array) -> jax.Array:
    """Global average pooling: [B, H, W, C] -> [B, C], summed in float32 or wider."""
    return x.mean(axis=(1, 2), dtype=jnp.promote_types(x.dtype, jnp.float32))


def classify(x: jax.Array, classes: int, features: bool) -> jax.Array:
    """The features [B, F] themselves, or the logits [B, classes] that `head` makes of them.

    Both are float32, or float64 if the network computes in float64: bfloat16 logits would tie.
    """
    x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    return x if features else dense(classes, name="head", dtype=x.dtype)(x)
