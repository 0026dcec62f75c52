"""Augmentation of a batch inside the compiled step: crop, flip, resize, normalize."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxmask.errors import InputError, check_numbers
from jaxmask.precision import wide

# in units of [0, 1]: a std of 1/255 leaves pixels of 0 to 255, and both have room around that
LEAST_STD, LARGEST = 1e-8, 1e3


def augmentation(
    *,
    mean: Sequence[float],
    std: Sequence[float],
    crop_padding: int = 0,
    flip: bool = False,
    size: int = 0,
    dtype=jnp.float32,
) -> Callable[[jax.Array | None, jax.Array], jax.Array]:
    """A pure function from a batch of uint8 images to the network's input.

    With a key, each image is padded with `crop_padding` black pixels on every side, cropped
    back to its size at a random position, and (with `flip`) mirrored left to right with probability
    1/2. Then, with or without a key, it is resized and normalized: (x / 255 - mean) / std.

    Args:
      mean, std: one float per channel, or one for all; in units of [0, 1].
      crop_padding: black pixels around the image before the random crop; 0 does not crop.
      flip: whether to mirror at random.
      size: height and width of the result (bilinear, antialiased); 0 keeps the images' size.
      dtype: of the result.

    Returns:
      f(key, images uint8 [B, H, W, C]) -> dtype [B, h, w, C]. `key=None` is evaluation: nothing
      random. Compiles under jit; the images stay uint8 until they are cropped.

    Raises:
      InputError: mean or std out of range (std from 1e-8 on), or of different lengths; when called,
        images that are not uint8 [B, H, W, C] or have a different number of channels.

    Example:
      >>> augment = augmentation(mean=(0.5,), std=(0.25,))
      >>> augment(None, jnp.zeros([1, 8, 8, 1], jnp.uint8))[0, 0, 0]
      Array([-2.], dtype=float32)
    """
    check_normalization(mean, std)
    if crop_padding < 0 or size < 0:
        raise InputError(f"crop_padding ({crop_padding}) and size ({size}) must not be negative")

    def augment(key, images):
        check_images(images, mean)
        if key is not None:
            images = _crop_and_flip(key, images, crop_padding, flip)
        x = images.astype(wide(dtype))
        if size and images.shape[1:3] != (size, size):
            x = jax.image.resize(x, (x.shape[0], size, size, x.shape[3]), "bilinear")
        return normalized(x, mean, std).astype(dtype)

    return augment


def check_normalization(mean: Any, std: Any) -> None:
    """Raises InputError unless both are one number per channel, of sizes that images can have."""
    for name, values, least in (("mean", mean, -LARGEST), ("std", std, LEAST_STD)):
        check_numbers(name, np.atleast_1d(np.asarray(values, object)).tolist(), least, LARGEST)
    if np.shape(mean) != np.shape(std) or np.ndim(mean) > 1 or not np.size(mean):
        raise InputError(
            f"mean and std need one number per channel each; got mean={mean}, std={std}"
        )


def check_images(images: Any, mean: Sequence[float]) -> None:
    """Raises InputError unless the images are uint8 [B, H, W, C] and `mean` is for C channels."""
    if images.ndim != 4 or images.dtype != jnp.uint8:
        raise InputError(f"need uint8 [B, H, W, C], got {images.dtype} {list(images.shape)}")
    if np.size(mean) not in (1, images.shape[-1]):
        raise InputError(
            f"mean and std are for {np.size(mean)} channels, the images have {images.shape[-1]}"
        )


def normalized(x: jax.Array, mean: Sequence[float], std: Sequence[float]) -> jax.Array:
    """(x / 255 - mean) / std of numbers from 0 to 255, channels last, in the dtype of x."""
    mu, sigma = np.array(mean, np.float64, ndmin=1), np.array(std, np.float64, ndmin=1)
    # Subtract first: a multiply before an add may be fused, and then jit differs from eager.
    return (x - (255 * mu).astype(x.dtype)) * (1 / (255 * sigma)).astype(x.dtype)


def _crop_and_flip(key, images, padding: int, flip: bool):
    """Both at once, as one gather of whole pixels."""
    if not padding and not flip:
        return images
    batch, height, width, _ = images.shape
    key_crop, key_flip = jax.random.split(key)
    rows, columns = jnp.arange(height), jnp.arange(width)
    if flip:
        mirror = jax.random.bernoulli(key_flip, shape=(batch, 1))
        columns = jnp.where(mirror, columns[::-1], columns)
    corner = jax.random.randint(key_crop, (2, batch, 1), 0, 2 * padding + 1)
    rows, columns = rows + corner[0], columns + corner[1]
    images = jnp.pad(images, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    # vmap makes the batch a batching dimension of the gather, which a mesh can shard.
    return jax.vmap(lambda image, row, column: image[row[:, None], column])(images, rows, columns)
