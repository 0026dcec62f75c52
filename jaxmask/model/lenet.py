"""The two LeNets of the pruning literature, for MNIST."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxmask.model import layers


class LeNet300(nn.Module):
    """LeNet-300-100: two hidden dense layers of 300 and 100 units with ReLU, and the head.

    266,610 parameters for 28x28x1 images and 10 classes. Works for images of any size.

    Reference: LeCun, Bottou, Bengio, Haffner, Gradient-based learning applied to document
    recognition, 1998; with ReLU as in Frankle, Carbin, The lottery ticket hypothesis, 2019.
    """

    classes: int
    width: float = 1.0
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False, features: bool = False) -> jax.Array:
        """Images [B, H, W, C] -> logits [B, classes] or features [B, 100 * width]."""
        x = layers.flatten(layers.images(x, self.dtype))
        for i, units in enumerate((300, 100), 1):
            units = layers.scaled(units, self.width)
            x = nn.relu(layers.dense(units, name=f"fc{i}", dtype=self.dtype)(x))
        return layers.classify(x, self.classes, features)


class LeNet5(nn.Module):
    """LeNet-5 as in Caffe: 5x5 convolutions without padding (20, 50), 2x2 max pools, 500 units.

    431,080 parameters for 28x28x1 images and 10 classes. ReLU follows the convolutions too, as
    in the pruning papers (Caffe's own has it after the dense layer only). The dense layer's size
    follows the image, at least 16x16 pixels.

    References: LeCun, Bottou, Bengio, Haffner, Gradient-based learning applied to document
    recognition, 1998; Lee, Ajanthan, Torr, SNIP: single-shot network pruning based on connection
    sensitivity, 2019.
    """

    classes: int
    width: float = 1.0
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False, features: bool = False) -> jax.Array:
        """Images [B, H, W, C] -> logits [B, classes] or features [B, 500 * width]."""
        x = layers.images(x, self.dtype, least=16)
        for i, channels in enumerate((20, 50), 1):
            channels = layers.scaled(channels, self.width)
            conv = layers.conv(channels, 5, name=f"conv{i}", dtype=self.dtype, bias=True, padding=0)
            x = layers.halve(nn.relu(conv(x)))
        units = layers.scaled(500, self.width)
        x = nn.relu(layers.dense(units, name="fc1", dtype=self.dtype)(layers.flatten(x)))
        return layers.classify(x, self.classes, features)
