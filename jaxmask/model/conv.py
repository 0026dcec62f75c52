"""Conv-2, Conv-4 and Conv-6: small VGG-like networks for CIFAR-10."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxmask.model import layers


class ConvNet(nn.Module):
    """`stages` times two 3x3 convolutions and a 2x2 max pool, then two dense layers of 256 units.

    The stages have 64, 128 and 256 channels; biases, no batch norm. For 32x32x3 images and 10
    classes Conv-2 has 4,301,642 parameters, Conv-4 2,425,930 and Conv-6 2,262,602 (the paper
    prints 4.3M, 2.4M and 1.7M; its description does not yield the last). The first dense layer's
    size follows the image, at least 2^stages pixels per side.

    Reference: Frankle, Carbin, The lottery ticket hypothesis: finding sparse, trainable neural
    networks, 2019 (figure 2).
    """

    classes: int
    stages: int
    width: float = 1.0
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False, features: bool = False) -> jax.Array:
        """Images [B, H, W, C] -> logits [B, classes] or features [B, 256 * width]."""
        x = layers.images(x, self.dtype, least=2**self.stages)
        for stage in range(self.stages):
            channels = layers.scaled(64 * 2**stage, self.width)
            for i in (2 * stage + 1, 2 * stage + 2):
                conv = layers.conv(channels, 3, name=f"conv{i}", dtype=self.dtype, bias=True)
                x = nn.relu(conv(x))
            x = layers.halve(x)
        x = layers.flatten(x)
        units = layers.scaled(256, self.width)
        for i in (1, 2):
            x = nn.relu(layers.dense(units, name=f"fc{i}", dtype=self.dtype)(x))
        return layers.classify(x, self.classes, features)
