"""Shared by vision transformers, CLIP's towers and BERT: attention blocks, patches."""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from jaxmask.errors import InputError
from jaxmask.model import attention, layers

HEAD = 64  # units of an attention head; the registry's `width` multiplies them

_glorot = nn.initializers.xavier_uniform()
small = nn.initializers.normal(0.02)

gelu = partial(jax.nn.gelu, approximate=False)


def quick_gelu(x: jax.Array) -> jax.Array:
    """x * sigmoid(1.702 x), CLIP's approximation of GELU."""
    return x * nn.sigmoid(1.702 * x)


def norm(name: str, epsilon: float, dtype: DTypeLike) -> nn.LayerNorm:
    """Layer norm over the last axis; the variance as a mean of squared differences."""
    return nn.LayerNorm(epsilon=epsilon, dtype=dtype, use_fast_variance=False, name=name)


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)) with four times the hidden units.

    With `post_norm`, as in BERT, the norm is of the sums: norm(x + attention(x)). Queries, keys and
    values are three dense layers, so that each has a mask of its own.
    """

    heads: int
    dtype: DTypeLike
    epsilon: float
    activation: Callable[[jax.Array], jax.Array]
    causal: bool = False
    post_norm: bool = False
    attend: attention.Attend = attention.dense

    @nn.compact
    def __call__(self, x: jax.Array, seen: jax.Array | None = None) -> jax.Array:
        """[B, T, D] -> [B, T, D]; with `causal` attention is dense, and a token sees no later ones.

        `seen` is bool [B, T], false for tokens that none sees (padding); None: all are seen.
        """
        norm1, norm2 = (norm(f"norm{i}", self.epsilon, self.dtype) for i in (1, 2))
        if self.post_norm:
            x = norm1(x + self._attention(x, seen))
            return norm2(x + self._mlp(x))
        x = x + self._attention(norm1(x), seen)
        return x + self._mlp(norm2(x))

    def _attention(self, x: jax.Array, seen: jax.Array | None) -> jax.Array:
        apart = (*x.shape[:-1], self.heads, x.shape[-1] // self.heads)
        q, k, v = (
            self._dense(x.shape[-1], part)(x).reshape(apart) for part in ("query", "key", "value")
        )
        attend = partial(attention.dense, causal=True) if self.causal else self.attend
        return self._dense(x.shape[-1], "out")(attend(q, k, v, seen).reshape(x.shape))

    def _mlp(self, x: jax.Array) -> jax.Array:
        hidden = self.activation(self._dense(4 * x.shape[-1], "fc1")(x))
        return self._dense(x.shape[-1], "fc2")(hidden)

    def _dense(self, units: int, name: str) -> nn.Dense:
        return nn.Dense(units, dtype=self.dtype, kernel_init=_glorot, name=name)


def tokens(
    module: nn.Module, x: jax.Array, size: int, patch: int, *, bias: bool, dtype: DTypeLike
) -> jax.Array:
    """Images [B, H, W, C] -> tokens [B, 1 + HW / patch^2, size], positions added.

    The first is the class token. The learned `patch`, `class_token` and `position` become part of
    `module`.
    """
    x = layers.images(x, dtype, least=patch)
    if x.shape[1] % patch or x.shape[2] % patch:
        raise InputError(
            f"images of {x.shape[1]}x{x.shape[2]} pixels cannot be cut into patches of {patch}; "
            f"give multiples of {patch}"
        )
    conv = layers.conv(size, patch, patch, name="patch", dtype=dtype, bias=bias, padding=0)
    x = conv(x)
    x = x.reshape(x.shape[0], -1, size)
    first = module.param("class_token", nn.initializers.zeros, (size,)).astype(dtype)
    x = jnp.concatenate([jnp.broadcast_to(first, (x.shape[0], 1, size)), x], axis=1)
    return x + module.param("position", small, x.shape[1:]).astype(dtype)


def image_size(positions: Sequence[int], patch: int) -> int:
    """The pixels per side of the square images that positions [.., 1 + grid^2, D] are for."""
    return max(1, math.isqrt(max(0, math.prod(positions[-2:-1]) - 1))) * patch


def fitted(
    params: Mapping[str, Any], image_shape: Sequence[int], patch: int
) -> tuple[dict[str, Any], str]:
    """Parameters with learned positions for other images, and what was done, "" if nothing.

    Positions and images that are not square stay as they are; so does a network without positions.

    Args:
        params: of a network; `position` is [1 + grid^2, D].
        image_shape: (height, width, channels) of its new images.
        patch: pixels per side of a patch.
    """
    position = params.get("position")
    if position is None or image_shape[0] != image_shape[1]:
        return dict(params), ""
    old, new = image_size(position.shape, patch), image_shape[0]
    if old == new or 1 + (old // patch) ** 2 != len(position):
        return dict(params), ""
    done = f"positions are interpolated from images of {old} pixels to {new}"
    return {**params, "position": resized(np.asarray(position), new, patch)}, done


def resized(positions: np.ndarray, size: int, patch: int) -> np.ndarray:
    """Positions [1 + grid^2, D] for square images of `size` pixels; the class token's stays.

    Bicubic, antialiased when the grid shrinks, as in TIMM.
    """
    if size < patch or size % patch:
        raise InputError(f"size is {size}; give a multiple of the {patch} pixels of a patch")
    old, new = math.isqrt(len(positions) - 1), size // patch
    grid = positions[1:].reshape(old, old, -1)
    grid = np.asarray(jax.image.resize(grid, (new, new, grid.shape[-1]), "bicubic"))
    return np.concatenate([positions[:1], grid.reshape(new * new, -1)])
