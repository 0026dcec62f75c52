"""CLIP's two towers: map images and texts to one space of unit vectors."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxmask.model import layers, transformer

EPSILON = 1e-5
PROJECTION = 512
ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "quick_gelu": transformer.quick_gelu,
    "gelu": transformer.gelu,
}


def _unit(x: jax.Array) -> jax.Array:
    # no division by the norm itself, whose gradient at zero is NaN
    return x * jax.lax.rsqrt(jnp.maximum(jnp.sum(x**2, -1, keepdims=True), 1e-24))


class ImageTower(nn.Module):
    """CLIP's vision transformer; its features are embeddings of length 1.

    `head` is a dense layer on the embedding: `pretrained.text_head` makes one from class names,
    whose logits are CLIP's own. For 224x224x3 images clip_vit_b32 has 87,849,216 parameters
    without the head.

    Reference: Radford et al., Learning transferable visual models from natural language
    supervision, 2021.
    """

    classes: int
    patch: int
    blocks: int
    heads: int
    width: float = 1.0
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False, features: bool = False) -> jax.Array:
        """Images [B, H, W, C] -> logits [B, classes] or embeddings [B, 512 * width]."""
        size = self.heads * layers.scaled(transformer.HEAD, self.width)
        x = transformer.tokens(self, x, size, self.patch, bias=False, dtype=self.dtype)
        x = transformer.norm("pre_norm", EPSILON, self.dtype)(x)
        for i in range(self.blocks):
            block = transformer.Block(
                self.heads, self.dtype, EPSILON, transformer.quick_gelu, name=f"block{i}"
            )
            x = block(x)
        x = transformer.norm("norm", EPSILON, self.dtype)(x[:, 0])
        units = layers.scaled(PROJECTION, self.width)
        x = nn.Dense(units, use_bias=False, dtype=self.dtype, name="projection")(x)
        x = _unit(x.astype(jnp.promote_types(x.dtype, jnp.float32)))
        return layers.classify(x, self.classes, features)


class TextTower(nn.Module):
    """CLIP's text transformer: every token sees itself and those before it.

    A text is represented by the output at its last token, the end mark.
    """

    vocabulary: int
    context: int  # tokens at most
    size: int
    blocks: int
    heads: int
    projection: int
    activation: Callable[[jax.Array], jax.Array] = transformer.quick_gelu

    @nn.compact
    def __call__(self, x: jax.Array, ends: jax.Array) -> jax.Array:
        """Tokens int [B, T] and the places [B] of their end marks -> unit vectors [B, projection].

        Tokens after the end mark change nothing.
        """
        dtype = jnp.float32
        x = nn.Embed(self.vocabulary, self.size, dtype=dtype, name="token")(x)
        position = self.param("position", nn.initializers.normal(0.01), (self.context, self.size))
        x = x + position[: x.shape[1]]
        for i in range(self.blocks):
            block = transformer.Block(
                self.heads, dtype, EPSILON, self.activation, causal=True, name=f"block{i}"
            )
            x = block(x)
        x = transformer.norm("norm", EPSILON, dtype)(x[jnp.arange(x.shape[0]), ends])
        return _unit(nn.Dense(self.projection, use_bias=False, name="projection")(x))
