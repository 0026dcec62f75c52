"""VGG-11, 13, 16 and 19 with batch norm, in the form of the lottery ticket papers."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxmask.model import layers

_CHANNELS = (64, 128, 256, 512, 512)


class VGG(nn.Module):
    """Five stages of 3x3 convolutions with batch norm and ReLU, 2x2 max pools between them.

    `counts` is the number of convolutions in each stage. Global average pooling and one linear
    layer replace the fifth pool and the three dense layers of the original. The
    convolutions have biases although batch norm follows, as in OpenLTH and SynFlow: with 10
    classes VGG-16 has 14,728,266 parameters and VGG-19 20,040,522. Images are at least 16x16
    pixels, for the four pools. Layers are named as in the literature: `conv3_2` is the second
    convolution of the third stage.

    References: Simonyan, Zisserman, Very deep convolutional networks for large-scale image
    recognition, 2015; Frankle, Carbin, The lottery ticket hypothesis, 2019.
    """

    classes: int
    counts: tuple[int, ...]
    width: float = 1.0
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False, features: bool = False) -> jax.Array:
        """Images [B, H, W, C] -> logits [B, classes] or features [B, 512 * width]."""
        x = layers.images(x, self.dtype, least=16)
        for stage, (channels, count) in enumerate(zip(_CHANNELS, self.counts), 1):
            channels = layers.scaled(channels, self.width)
            if stage > 1:
                x = layers.halve(x)
            for i in range(1, count + 1):
                name = f"conv{stage}_{i}"
                x = layers.conv(channels, 3, name=name, dtype=self.dtype, bias=True)(x)
                x = nn.relu(layers.norm(train, name=f"bn{stage}_{i}", dtype=self.dtype)(x))
        return layers.classify(layers.average(x), self.classes, features)
