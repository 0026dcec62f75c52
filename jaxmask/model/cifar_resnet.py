"""ResNet-20, 32, 44, 56 and 110: the residual networks for CIFAR."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxmask.model import layers


def _shortcut(x: jax.Array, channels: int, stride: int) -> jax.Array:
    """Option A of the paper: every `stride`-th pixel, the new channels zero. No parameters.

    The zeros go evenly before and after the old channels, as in the published weights; for a
    network trained from scratch, the side does not matter.
    """
    extra = channels - x.shape[-1]
    return jnp.pad(
        x[:, ::stride, ::stride], ((0, 0), (0, 0), (0, 0), (extra // 2, extra - extra // 2))
    )


class _Block(nn.Module):
    """relu(x + bn(conv(relu(bn(conv(x)))))), both convolutions 3x3, the first one strided."""

    channels: int
    stride: int
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        y = layers.conv(self.channels, 3, self.stride, name="conv1", dtype=self.dtype)(x)
        y = nn.relu(layers.norm(train, name="bn1", dtype=self.dtype)(y))
        y = layers.conv(self.channels, 3, name="conv2", dtype=self.dtype)(y)
        y = layers.norm(train, name="bn2", dtype=self.dtype)(y)
        return nn.relu(y + _shortcut(x, self.channels, self.stride))


class CifarResNet(nn.Module):
    """A 3x3 convolution and three stages of `blocks` residual blocks with 16, 32, 64 channels.

    Depth is 6 * blocks + 2. For 32x32x3 images and 10 classes ResNet-20 has 269,722 parameters,
    32: 464,154, 44: 658,586, 56: 853,018, 110: 1,727,962. Global average pooling makes it work
    for images of any size.

    Reference: He, Zhang, Ren, Sun, Deep residual learning for image recognition, 2016
    (section 4.2).
    """

    classes: int
    blocks: int
    width: float = 1.0
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False, features: bool = False) -> jax.Array:
        """Images [B, H, W, C] -> logits [B, classes] or features [B, 64 * width]."""
        stem = layers.conv(layers.scaled(16, self.width), 3, name="conv1", dtype=self.dtype)
        x = stem(layers.images(x, self.dtype))
        x = nn.relu(layers.norm(train, name="bn1", dtype=self.dtype)(x))
        for stage, channels in enumerate((16, 32, 64), 1):
            channels = layers.scaled(channels, self.width)
            for i in range(self.blocks):
                stride = 2 if stage > 1 and i == 0 else 1
                x = _Block(channels, stride, self.dtype, name=f"layer{stage}_{i}")(x, train)
        return layers.classify(layers.average(x), self.classes, features)
