"""Vision transformers for classification, as in TIMM."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxmask.model import layers, transformer

_EPSILON = 1e-6


class ViT(nn.Module):
    """Square patches, a class token, learned positions, pre-norm blocks of attention and MLP.

    The features are the class token after a final norm. For 224x224x3 images and 1,000 classes
    vit_ti16 has 5,717,416 parameters, vit_s16 22,050,664, vit_s32 22,878,952, vit_b16 86,567,656,
    vit_b32 88,224,232 and vit_l16 304,326,632. Height and width of images are multiples of the
    patch; the number of positions follows from them. No dropout.

    Reference: Dosovitskiy et al., An image is worth 16x16 words: transformers for image
    recognition at scale, 2021.
    """

    classes: int
    patch: int
    blocks: int
    heads: int
    width: float = 1.0
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False, features: bool = False) -> jax.Array:
        """Images [B, H, W, C] -> logits [B, classes] or features [B, 64 * heads * width]."""
        size = self.heads * layers.scaled(transformer.HEAD, self.width)
        x = transformer.tokens(self, x, size, self.patch, bias=True, dtype=self.dtype)
        for i in range(self.blocks):
            block = transformer.Block(
                self.heads, self.dtype, _EPSILON, transformer.gelu, name=f"block{i}"
            )
            x = block(x)
        x = transformer.norm("norm", _EPSILON, self.dtype)(x[:, 0])
        return layers.classify(x, self.classes, features)
