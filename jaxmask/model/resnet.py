"""ResNet-18, 34 and 50, for ImageNet and, with another stem, for 32-pixel images."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxmask.model import layers

STEMS = ("imagenet", "cifar")

# Fan out, as torchvision initializes these networks; the other families use fan in.
_conv = partial(layers.conv, init=layers.fan_out)


def _shortcut(x: jax.Array, channels: int, stride: int, train: bool, dtype: DTypeLike) -> jax.Array:
    """The identity, or a strided 1x1 convolution with batch norm where shapes differ."""
    if stride == 1 and x.shape[-1] == channels:
        return x
    x = _conv(channels, 1, stride, name="downsample_conv", dtype=dtype)(x)
    return layers.norm(train, name="downsample_bn", dtype=dtype)(x)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions, the first one strided, beside the shortcut."""

    channels: int
    stride: int
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """[B, H, W, C] -> [B, ceil(H / stride), ceil(W / stride), channels]."""
        norm = partial(layers.norm, train, dtype=self.dtype)
        y = _conv(self.channels, 3, self.stride, name="conv1", dtype=self.dtype)(x)
        y = nn.relu(norm(name="bn1")(y))
        y = norm(name="bn2")(_conv(self.channels, 3, name="conv2", dtype=self.dtype)(y))
        return nn.relu(y + _shortcut(x, self.channels, self.stride, train, self.dtype))


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions, the last with four times the channels.

    The 3x3 is strided (torchvision's v1.5); the paper strides the first 1x1.
    """

    channels: int
    stride: int
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """[B, H, W, C] -> [B, ceil(H / stride), ceil(W / stride), 4 * channels]."""
        norm = partial(layers.norm, train, dtype=self.dtype)
        y = _conv(self.channels, 1, name="conv1", dtype=self.dtype)(x)
        y = nn.relu(norm(name="bn1")(y))
        y = _conv(self.channels, 3, self.stride, name="conv2", dtype=self.dtype)(y)
        y = nn.relu(norm(name="bn2")(y))
        y = norm(name="bn3")(_conv(4 * self.channels, 1, name="conv3", dtype=self.dtype)(y))
        return nn.relu(y + _shortcut(x, 4 * self.channels, self.stride, train, self.dtype))


class ResNet(nn.Module):
    """A stem and four stages of residual blocks with 64, 128, 256, 512 channels.

    `counts` is the number of blocks in each stage. `stem="imagenet"` is a 7x7 convolution and a
    3x3 max pool, both strided; `stem="cifar"` a 3x3 convolution without stride, and no pool. With
    1,000 classes ResNet-18 has 11,689,512 parameters, ResNet-34 21,797,672 and ResNet-50
    25,557,032; ResNet-18 with the CIFAR stem and 10 classes 11,173,962. Layers are named as in
    torchvision, with underscores, and the last one `head`.

    Reference: He, Zhang, Ren, Sun, Deep residual learning for image recognition, 2016.
    """

    classes: int
    block: type[BasicBlock] | type[Bottleneck]
    counts: tuple[int, ...]
    stem: str = "imagenet"
    width: float = 1.0
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False, features: bool = False) -> jax.Array:
        """Images [B, H, W, C] -> logits [B, classes] or features [B, F].

        F is 512 * width for basic blocks and 2048 * width for bottlenecks.
        """
        x = layers.images(x, self.dtype)
        size, stride = {"imagenet": (7, 2), "cifar": (3, 1)}[self.stem]
        stem = layers.scaled(64, self.width)
        x = _conv(stem, size, stride, name="conv1", dtype=self.dtype)(x)
        x = nn.relu(layers.norm(train, name="bn1", dtype=self.dtype)(x))
        if self.stem == "imagenet":
            x = nn.max_pool(x, (3, 3), (2, 2), padding=((1, 1), (1, 1)))
        for stage, count in enumerate(self.counts, 1):
            channels = layers.scaled(64 * 2 ** (stage - 1), self.width)
            for i in range(count):
                stride = 2 if stage > 1 and i == 0 else 1
                x = self.block(channels, stride, self.dtype, name=f"layer{stage}_{i}")(x, train)
        return layers.classify(layers.average(x), self.classes, features)
