"""NAME: an architecture, in one line. Becomes jaxmask/model/NAME.py."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxmask.model import layers


class TwoLayers(nn.Module):
    """Two hidden layers of 64 units and the head.

    Reference: authors, title, year.
    """

    classes: int
    width: float = 1.0  # multiplies all numbers of units
    dtype: DTypeLike = jnp.float32  # of activations

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False, features: bool = False) -> jax.Array:
        """Images [B, H, W, C] -> logits [B, classes], or features [B, 64 * width]."""
        x = layers.flatten(layers.images(x, self.dtype))
        for i in (1, 2):
            units = layers.scaled(64, self.width)
            x = nn.relu(layers.dense(units, name=f"fc{i}", dtype=self.dtype)(x))
        return layers.classify(x, self.classes, features)
