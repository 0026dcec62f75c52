"""Random views of unlabeled images inside the compiled step: crops of two sizes, color, blur."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxmask.data import color, crop
from jaxmask.data.augment import check_images, check_normalization, normalized
from jaxmask.errors import InputError, check_numbers
from jaxmask.precision import wide

SIGMA, OF_PIXELS = (0.1, 2.0), 224  # of the blur, in pixels of a view of 224
CHANNELS = (1, 3)


def view_sizes(side: int) -> tuple[int, int]:
    """Sizes of large and small views of images with this side: the side, and about 3/7 of it.

    224 gives the published 224 and 96. Of 32 the same share is 13.7, which a network of stages with
    stride 2 could not halve. So with g, the largest power of two that divides the side, the small
    size is the multiple of g / 2 nearest to 3/7 of the side: if large views can be halved k times
    without a remainder, small ones can k - 1 times.

    Raises:
      InputError: a side below 1.

    Example:
      >>> [view_sizes(side) for side in (224, 32, 28)]
      [(224, 96), (32, 16), (28, 12)]
    """
    if side < 1:
        raise InputError(f"views of images with a side of {side} pixels; it must be at least 1")
    unit = max((side & -side) // 2, 1)
    return side, unit * max(round(3 * side / (7 * unit)), 1)


class _Kind(NamedTuple):
    """One of the two kinds of views."""

    views: int  # of each image
    size: int
    scale: tuple[float, float]


class _Options(NamedTuple):
    """What both kinds of views share."""

    flip: bool
    jitter: float
    strengths: tuple[float, ...]
    gray: float
    blur: float
    blur_unit: float  # a pixel of a view of 224, in pixels


def views(
    *,
    mean: Sequence[float],
    std: Sequence[float],
    large_size: int,
    small_size: int,
    large: int = 2,
    small: int = 6,
    large_scale: tuple[float, float] = (0.14, 1.0),
    small_scale: tuple[float, float] = (0.05, 0.14),
    flip: bool = True,
    jitter: float = 0.8,
    strengths: Sequence[float] = (0.8, 0.8, 0.8, 0.2),
    gray: float = 0.2,
    blur: float = 0.5,
    dtype=jnp.float32,
) -> Callable[[jax.Array, jax.Array], tuple[jax.Array, jax.Array]]:
    """A pure function from a batch of uint8 images to several random views of each.

    The defaults are SwAV's. Each view of each image has random numbers of its own and is

    1. a crop, inside the image: its area is uniform in `scale` (as a share of the image's), its
       width / height is log-uniform in 3/4 to 4/3; of ten draws the first that fits is taken, or
       else the largest crop from the center; resized to a square (bilinear, antialiased, from
       pixels of the crop alone);
    2. mirrored left to right with probability 1/2 (`flip`);
    3. with probability `jitter`, changed four times in an order of its own, with f uniform in
       1 - strength to 1 + strength and h in -strength to strength: brightness f x, contrast
       f x + (1 - f) mean(gray(x)), saturation f x + (1 - f) gray(x), hue + h (a full circle is 1),
       each cut to black and white; gray(x) is 0.299 red + 0.587 green + 0.114 blue;
    4. with probability `gray`, gray(x) in all channels;
    5. with probability `blur`, blurred by a Gaussian whose sigma is uniform in 0.1 to 2 pixels if
       `large_size` is 224, and in proportion to it otherwise, in small views too. (Two pixels of 32
       would be 14 of 224, and leave little to recognize. So at 32 pixels blur changes next to
       nothing, and `blur=0` saves its time.)
    6. normalized: (x / 255 - mean) / std.

    Numbers are real throughout, where SwAV's pipeline rounds to bytes after each operation.
    Gray images (C = 1) have no saturation and no hue: those two leave them as they are.

    Args:
      mean, std: one float per channel, or one for all; in units of [0, 1].
      large_size, small_size: height and width of the views; see `view_sizes`.
      large, small: how many views of each image; 0 is none.
      large_scale, small_scale: least and largest area of the crops, as a share of the image's.
      flip: whether to mirror at random.
      jitter, gray, blur: probabilities.
      strengths: of brightness, contrast and saturation (at most 1: factors of 1 - strength to
        1 + strength) and of hue (at most 0.5: in full circles, either way).
      dtype: of the result; the same key gives the same views in each, up to rounding.

    Returns:
      f(key, images uint8 [B, H, W, C]) -> (dtype [large, B, S, S, C], dtype [small, B, s, s, C]).
      Compile it, alone or within a step: it is many small operations. The random numbers depend
      on the key and on an image's place in the batch alone, not on how devices share the batch.

    Raises:
      InputError: a size, count, scale, probability or strength out of range, mean or std as in
        `augmentation`; when called, images that are not uint8 [B, H, W, C] with C = 1 or 3.

    References: Caron et al., Unsupervised Learning of Visual Features by Contrasting Cluster
    Assignments (2020), https://arxiv.org/abs/2006.09882.

    Example:
      >>> make = jax.jit(views(mean=(0.5,), std=(0.25,), large_size=32, small_size=16))
      >>> large, small = make(jax.random.key(0), jnp.zeros([4, 32, 32, 3], jnp.uint8))
      >>> large.shape, small.shape
      ((2, 4, 32, 32, 3), (6, 4, 16, 16, 3))
    """
    check_normalization(mean, std)
    kinds = _Kind(large, large_size, large_scale), _Kind(small, small_size, small_scale)
    _check(kinds, {"jitter": jitter, "gray": gray, "blur": blur}, strengths)
    options = _Options(flip, jitter, tuple(strengths), gray, blur, large_size / OF_PIXELS)

    def make(key, images):
        check_images(images, mean)
        if images.shape[-1] not in CHANNELS or 0 in images.shape:
            raise InputError(f"views need images of 1 or 3 channels, got {list(images.shape)}")

        def of_kind(key, kind):
            x = _views(key, images, kind, options, wide(dtype))
            return normalized(x, mean, std).astype(dtype)

        return tuple(map(of_kind, jax.random.split(key), kinds))

    return make


def _check(kinds, probabilities, strengths) -> None:
    for name, kind in zip(("large", "small"), kinds):
        for field, value, least in ((name, kind.views, 0), (f"{name}_size", kind.size, 1)):
            if not isinstance(value, int) or value < least:
                raise InputError(f"{field} is {value}; give a whole number of at least {least}")
        check_numbers(f"{name}_scale", kind.scale, 0, 1)
        if len(kind.scale) != 2 or not 0 < kind.scale[0] <= kind.scale[1]:
            raise InputError(
                f"{name}_scale is {kind.scale}; give the least and the largest area, both over 0"
            )
    for name, value in probabilities.items():
        check_numbers(name, [value], 0, 1)
    if len(strengths) != 4:
        raise InputError(f"strengths are of brightness, contrast, saturation, hue; got {strengths}")
    check_numbers("strengths", strengths[:3], 0, 1)
    check_numbers("strengths, of the hue,", strengths[3:], 0, 0.5)


def _views(key, images, kind: _Kind, options: _Options, dtype):
    """[views, B, size, size, C] with numbers from 0 to 255."""
    batch, image = len(images), images.shape[1:3]
    # float32 whatever the dtype: a key then means the same views in each
    many = crop.NUMBERS + color.NUMBERS + 5
    numbers = jax.random.uniform(key, (batch, kind.views, many), np.float32)
    of_crop, of_color, others = jnp.split(
        numbers, (crop.NUMBERS, crop.NUMBERS + color.NUMBERS), axis=-1
    )
    flip, jitter, gray, blur, sigma = jnp.moveaxis(others, -1, 0)[..., None, None]

    box = crop.boxes(of_crop, image, kind.scale)
    rows = crop.resize_weights(box.top, box.height, image[0], kind.size, dtype)
    columns = crop.resize_weights(box.left, box.width, image[1], kind.size, dtype)
    if options.flip:
        columns = jnp.where(flip < 0.5, columns[..., ::-1, :], columns)
    # Planes [B, views, C, h, w] from here on: channels last would be vectors of three.
    x = _product("bvih,bhwc->bvciw", rows, images.astype(dtype))
    x = _product("bvciw,bvjw->bvcij", x, columns)
    if options.jitter:
        change = color.jitter(of_color.astype(dtype), options.strengths)
        x = jnp.where(jitter[..., None] < options.jitter, color.jittered(x, change), x)
    if options.gray:
        x = jnp.where(gray[..., None] < options.gray, color.gray(x)[..., None, :, :], x)
    if options.blur:
        least, most = (limit * options.blur_unit for limit in SIGMA)
        weights = blur_weights((least + (most - least) * sigma[..., 0, 0]).astype(dtype), kind.size)
        weights = jnp.where(blur < options.blur, weights, jnp.eye(kind.size, dtype=dtype))
        x = _product("bvih,bvchw->bvciw", weights, x)
        x = _product("bvciw,bvjw->bvcij", x, weights)
    return x.transpose(1, 0, 3, 4, 2)


def blur_weights(sigma: jax.Array, size: int) -> jax.Array:
    """Rows of weights of a Gaussian blur along a line of pixels, mirrored at its ends.

    Result i is the mean of the pixels j with weights exp(-(j - i)^2 / (2 sigma^2)), where the line
    goes on mirrored beyond its ends (c b | a b c ... x y z | y x), as OpenCV does by default.

    Args:
      sigma: float [...], in pixels, over 0 and up to about size / 6: one mirror image at each end
        is counted.

    Returns:
      [..., size, size] in sigma's dtype; each row sums to 1.

    Example:
      >>> from jaxmask.data.views import blur_weights
      >>> (100 * blur_weights(jnp.float32(0.5), 3)).round().tolist()
      [[79.0, 21.0, 0.0], [11.0, 79.0, 11.0], [0.0, 21.0, 79.0]]
    """
    j = np.arange(size)
    i = j[:, None]
    # pixel j, and where it is seen beyond the left and the right end; an end is its own image
    distances = np.stack([j - i, i + j, 2 * (size - 1) - i - j])
    counted = np.stack([j >= 0, j > 0, j < size - 1])[:, None]
    squares = jnp.asarray(np.square(distances), sigma.dtype)
    bells = jnp.exp(-squares / (2 * jnp.square(sigma))[..., None, None, None])
    weights = jnp.where(counted, bells, 0).sum(axis=-3)
    return weights / weights.sum(axis=-1, keepdims=True)


def _product(subscripts: str, a: jax.Array, b: jax.Array) -> jax.Array:
    """In full precision: GPUs would round the factors to 11 bits."""
    return jnp.einsum(subscripts, a, b, precision=jax.lax.Precision.HIGHEST)
