"""Random crops of many shapes: the boxes, and the weights that resize them to one shape."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

ASPECTS = (3 / 4, 4 / 3)  # width / height
DRAWS = 10
NUMBERS = 2 * DRAWS + 2  # random numbers of a box


class Boxes(NamedTuple):
    """Crops, each field int32 [...]: rows top to top + height, columns left to left + width."""

    top: jax.Array
    left: jax.Array
    height: jax.Array
    width: jax.Array


def boxes(numbers: jax.Array, image: tuple[int, int], scale: tuple[float, float]) -> Boxes:
    """Crops of random area, aspect ratio and position, all inside the image.

    The area is uniform in `scale` (as a share of the image's), width / height is log-uniform in
    3/4 to 4/3, both sides are rounded to whole pixels, and the position is uniform. The first of
    ten draws that fits is taken; if none does, the largest centered crop with an aspect ratio in
    that range. (This is torchvision's RandomResizedCrop.)

    Args:
      numbers: float32 [..., NUMBERS], uniform in [0, 1): ten areas, ten aspect ratios, a position.
      image: height and width.
      scale: least and largest area.

    Example:
      >>> from jaxmask.data.crop import NUMBERS, boxes
      >>> numbers = jax.random.uniform(jax.random.key(0), (100, NUMBERS))
      >>> box = boxes(numbers, (32, 48), (0.14, 1.0))
      >>> bool((box.top >= 0).all()), bool((box.left + box.width <= 48).all())
      (True, True)
    """
    areas, aspects, places = jnp.split(numbers, (DRAWS, 2 * DRAWS), axis=-1)
    areas = _between(areas, *scale) * (image[0] * image[1])
    aspects = jnp.exp(_between(aspects, *map(math.log, ASPECTS)))
    heights = jnp.round(jnp.sqrt(areas / aspects)).astype(np.int32)
    widths = jnp.round(jnp.sqrt(areas * aspects)).astype(np.int32)
    fits = (heights >= 1) & (heights <= image[0]) & (widths >= 1) & (widths <= image[1])
    found = fits.any(axis=-1)
    first = jnp.argmax(fits, axis=-1, keepdims=True)

    def side(draws, otherwise):
        return jnp.where(found, jnp.take_along_axis(draws, first, -1)[..., 0], otherwise)

    def start(place, room):
        # a float32 below 1, times a whole number, is never rounded up to that number
        anywhere = jnp.floor(place * (room + 1).astype(place.dtype)).astype(np.int32)
        return jnp.where(found, anywhere, room // 2)

    height, width = map(side, (heights, widths), _closest(image))
    top, left = start(places[..., 0], image[0] - height), start(places[..., 1], image[1] - width)
    return Boxes(top, left, height, width)


def _between(numbers: jax.Array, least: float, most: float) -> jax.Array:
    return least + (most - least) * numbers


def _closest(image: tuple[int, int]) -> tuple[int, int]:
    """Height and width of the largest crop with an aspect ratio in the range."""
    height, width = image
    if width / height < ASPECTS[0]:
        return round(width / ASPECTS[0]), width
    if width / height > ASPECTS[1]:
        return height, round(height * ASPECTS[1])
    return height, width


def resize_weights(start: jax.Array, length: jax.Array, pixels: int, size: int, dtype) -> jax.Array:
    """Rows of weights that resize a stretch of a line of pixels: bilinear, antialiased.

    Pixel j covers j to j + 1. With r = length / size, result i is the mean of the pixels j of the
    stretch (start <= j < start + length) with weights

        max(0, 1 - |j + 1/2 - start - (i + 1/2) r| / max(r, 1))

    as in Pillow's `resize` of the cropped image, PyTorch's `interpolate(antialias=True)` and
    `jax.image.resize`: nothing from outside the stretch, and when shrinking (r > 1) the triangle is
    as much wider.

    Args:
      start, length: int32 [...].
      pixels: in the line; size: of the result.

    Returns:
      dtype [..., size, pixels]; each row sums to 1.

    Example:
      >>> from jaxmask.data.crop import resize_weights
      >>> resize_weights(jnp.int32(1), jnp.int32(2), 4, 1, np.float32)
      Array([[0. , 0.5, 0.5, 0. ]], dtype=float32)
    """
    start, length = (x.astype(dtype)[..., None, None] for x in (start, length))
    ratio = length / size
    middle = (jnp.arange(size, dtype=dtype)[:, None] + 0.5) * ratio
    offset = jnp.arange(pixels, dtype=dtype) - start
    inside = (offset >= 0) & (offset < length)
    weights = jnp.maximum(1 - jnp.abs(offset + 0.5 - middle) / jnp.maximum(ratio, 1), 0)
    weights = jnp.where(inside, weights, 0)
    return weights / weights.sum(axis=-1, keepdims=True)
