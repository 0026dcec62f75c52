"""The mean and standard deviation of each channel, to normalize inputs."""

import math

import numpy as np

from jaxmask.data.lazy import Lazy
from jaxmask.errors import InputError

CHUNK_BYTES = 8 << 20
SAMPLE = 4096  # most images to use if each has to be decoded


def statistics(images) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Per-channel mean and (population) standard deviation, with pixels scaled to [0, 1].

    The sums are exact integers, taken chunk by chunk: no copy of the images is made, and the
    result does not depend on their order. Of `Lazy` images, at most 4,096 are used, evenly spaced.

    Args:
      images: uint8 [N, H, W, C], may be memory-mapped or `Lazy`.

    Returns:
      (mean, std): C floats each. The std of a constant channel is 1, so that dividing by it is
      harmless.

    Raises:
      InputError: no images, or not uint8 [N, H, W, C].

    Example:
      >>> statistics(np.zeros([2, 4, 4, 1], np.uint8))
      ((0.0,), (1.0,))
    """
    if images.ndim != 4 or images.dtype != np.uint8 or not images.size:
        raise InputError(
            f"statistics needs uint8 images [N, H, W, C], at least one; got {images.dtype} "
            f"{list(images.shape)}"
        )
    if isinstance(images, Lazy) and len(images) > SAMPLE:
        images = images.take(np.linspace(0, len(images) - 1, SAMPLE).astype(np.int64))
    channels = images.shape[-1]
    step = max(1, CHUNK_BYTES // (images.nbytes // len(images)))
    total = np.zeros(channels, np.int64)
    squares = np.zeros(channels, np.int64)
    for start in range(0, len(images), step):
        chunk = np.asarray(images[start : start + step])
        # Over the examples first: long contiguous runs, several times faster than [N*H*W, C].
        total += chunk.sum(axis=0, dtype=np.int64).reshape(-1, channels).sum(axis=0)
        square = np.square(chunk, dtype=np.uint16)  # 255**2 fits
        squares += square.sum(axis=0, dtype=np.int64).reshape(-1, channels).sum(axis=0)
    count = images.size // channels
    mean = tuple(int(t) / count / 255 for t in total)
    # N * sum(x^2) - sum(x)^2 in Python's integers, where nothing cancels or overflows.
    spread = [count * int(q) - int(t) ** 2 for t, q in zip(total, squares)]
    std = tuple(math.sqrt(v) / count / 255 if v else 1.0 for v in spread)
    return mean, std
