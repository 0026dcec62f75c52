"""Random changes of color, of images stored as planes of numbers from 0 to 255: [..., C, H, W]."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxmask.errors import InputError

NUMBERS = 8  # random numbers of a change
LUMA = (0.299, 0.587, 0.114)  # of red, green, blue in brightness as seen (ITU-R 601)


class Jitter(NamedTuple):
    """How to change the colors of each image [...].

    Attributes:
      blends: float [..., 4, 3], in the order of application: see `_blend`. The hue's is neutral.
      place: int [...], 0 to 3: when the hue's turn is.
      turn: float [...], by how much to turn the hue, in full circles.
    """

    blends: jax.Array
    place: jax.Array
    turn: jax.Array


def jitter(numbers: jax.Array, strengths: Sequence[float]) -> Jitter:
    """Four changes in random order: of brightness, contrast, saturation and hue.

    With f uniform in 1 - strength to 1 + strength, h in -strength to strength, an image x becomes

        brightness  f x
        contrast    f x + (1 - f) mean(gray(x))
        saturation  f x + (1 - f) gray(x)
        hue         x with h added to its hue (a full circle is 1)

    each cut to 0 to 255, where gray(x) = 0.299 red + 0.587 green + 0.114 blue and the mean is over
    the image's pixels. (This is torchvision's ColorJitter, in real numbers instead of bytes.)

    Args:
      numbers: float [..., NUMBERS], uniform in [0, 1): three factors, a hue, and four whose ranks
        are the order.
      strengths: of brightness, contrast, saturation, hue.
    """
    shifts = (2 * numbers[..., :4] - 1) * jnp.asarray(strengths, numbers.dtype)
    bright, contrast, saturation = jnp.moveaxis(1 + shifts[..., :3], -1, 0)
    none, one = jnp.zeros_like(bright), jnp.ones_like(bright)
    rows = [
        (bright, none, none),
        (contrast, none, 1 - contrast),
        (saturation, 1 - saturation, none),
        (one, none, none),
    ]
    blends = jnp.stack([jnp.stack(row, -1) for row in rows], -2)
    order = jnp.argsort(numbers[..., 4:], axis=-1)
    ordered = jnp.take_along_axis(blends, order[..., None], axis=-2)
    return Jitter(ordered, jnp.argmax(order, axis=-1), shifts[..., 3])


def jittered(x: jax.Array, change: Jitter) -> jax.Array:
    """The images [..., C, H, W] with their colors changed; C is 1 or 3.

    The order differs by image, yet hue, which costs most, is computed once: three blends, of which
    those after the hue's turn are neutral, then hue, then three, of which those before it are.
    Images of one channel have no hue, and are their own gray: only brightness and contrast act.
    """
    neutral = jnp.asarray([1, 0, 0], x.dtype)

    def step(x, turn, wanted):
        return _blend(x, jnp.where(wanted[..., None], change.blends[..., turn, :], neutral))

    for turn in range(3):
        x = step(x, turn, turn < change.place)
    if x.shape[-3] == 3:
        x = _turned(x, change.turn)
    for turn in range(1, 4):
        x = step(x, turn, turn > change.place)
    return x


def gray(x: jax.Array) -> jax.Array:
    """[..., 3, H, W] -> [..., H, W], the weighted mean of the channels; one channel is itself."""
    if x.shape[-3] == 1:
        return x[..., 0, :, :]
    if x.shape[-3] != 3:
        raise InputError(f"colors need 1 or 3 channels, got {x.shape[-3]}")
    red, green, blue = (weight * x[..., channel, :, :] for channel, weight in enumerate(LUMA))
    return red + green + blue


def _blend(x: jax.Array, weights: jax.Array) -> jax.Array:
    """a x + b gray(x) + c mean(gray(x)), cut to 0 to 255; weights [..., 3] are a, b, c."""
    own, of_gray, of_mean = (w[..., None, None] for w in jnp.moveaxis(weights, -1, 0))
    shade = gray(x)
    added = of_gray * shade + of_mean * shade.mean(axis=(-2, -1), keepdims=True)
    return jnp.clip(own[..., None] * x + added[..., None, :, :], 0, 255)


def _turned(x: jax.Array, turn: jax.Array) -> jax.Array:
    """With `turn` added to the hue; value (the largest channel) and saturation stay.

    With v = max(r, g, b), c = v - min(r, g, b) and the hue in sixths of a circle, a channel is
    v - c clip(min(k, 4 - k), 0, 1), where k = (n + hue) mod 6 and n = 5, 3, 1 for r, g, b.
    """
    red, green, blue = (x[..., channel, :, :] for channel in range(3))
    value = jnp.maximum(jnp.maximum(red, green), blue)
    chroma = value - jnp.minimum(jnp.minimum(red, green), blue)
    safe = jnp.where(chroma > 0, chroma, 1)
    hue = jnp.where(
        value == red,
        (green - blue) / safe,
        jnp.where(value == green, 2 + (blue - red) / safe, 4 + (red - green) / safe),
    )
    hue = hue + 6 * turn[..., None, None]

    def channel(start: int) -> jax.Array:
        k = start + hue
        k = k - 6 * jnp.floor(k / 6)  # `%` of floats is slow on CPUs
        return value - chroma * jnp.clip(jnp.minimum(k, 4 - k), 0, 1)

    return jnp.stack([channel(5), channel(3), channel(1)], axis=-3)
