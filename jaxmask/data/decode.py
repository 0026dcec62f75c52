"""Encoded images (PNG, JPEG, ...) to uint8 arrays."""

from functools import cache
from typing import Any

import numpy as np


def decode(encoded: bytes, channels: int, size: int = 0) -> np.ndarray | None:
    """One image as uint8 [H, W, channels], RGB; None if the bytes are not an image.

    Args:
      encoded: the file's bytes.
      channels: 1 (gray), 3 (RGB) or 4 (RGBA); other images are converted.
      size: resize the shorter side to this and crop the center square; 0 keeps the image.
    """
    import cv2

    flags = {1: cv2.IMREAD_GRAYSCALE, 3: cv2.IMREAD_COLOR, 4: cv2.IMREAD_UNCHANGED}[channels]
    if channels != 4:  # UNCHANGED implies it; other readers of these datasets rotate nothing
        flags |= cv2.IMREAD_IGNORE_ORIENTATION
    try:
        image = cv2.imdecode(np.frombuffer(encoded, np.uint8), flags)
    except cv2.error:
        return None
    if image is None or image.dtype != np.uint8:
        return None
    if channels == 3:
        image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    if channels == 4:
        to_rgba = {1: cv2.COLOR_GRAY2RGBA, 3: cv2.COLOR_BGR2RGBA, 4: cv2.COLOR_BGRA2RGBA}
        image = cv2.cvtColor(image, to_rgba[image.shape[2] if image.ndim == 3 else 1])
    return resize(image.reshape(*image.shape[:2], channels), size)


@cache
def extensions() -> frozenset[str]:
    """The file name extensions, such as ".jpg", of all formats that Pillow reads."""
    from PIL import Image

    known = Image.registered_extensions()  # loads the formats, so must come first
    return frozenset(extension for extension, kind in known.items() if kind in Image.OPEN)


def decode_file(file: Any, size: int = 0, channels: int = 3) -> np.ndarray:
    """An image of any format that Pillow reads, as uint8 [H, W, channels].

    Rotated by its EXIF orientation. 16 bits become 8, transparency is dropped, an animation gives
    its first frame.

    Args:
      file: a path, or a file opened for reading bytes.
      size: resize the shorter side to this and crop the center square; 0 keeps the image.
      channels: 3 (RGB) or 1 (gray); other images are converted.

    Raises:
      OSError, ValueError and whatever else Pillow raises for a damaged file.
    """
    from PIL import Image, ImageOps

    with Image.open(file) as image:
        if size:
            # Decodes a large JPEG at a half, a quarter or an eighth, still at least twice the
            # requested size: by eye the same as from the whole.
            image.draft(None, (2 * size, 2 * size))
        ImageOps.exif_transpose(image, in_place=True)
        # In Pillow, not `resize`: it lets other threads run, and leaves little to copy, during
        # which none can.
        image = _fit(_rgb(image), size)
        return np.asarray(image) if channels == 3 else np.asarray(image.convert("L"))[..., None]


def reason(error: Exception) -> str:
    """Why `decode_file` raised this, in a few words."""
    from PIL import UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):
        return "not an image"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return (str(error).splitlines() or [type(error).__name__])[0][:100]


def _fit(image: Any, size: int) -> Any:
    """`resize` for a Pillow image; bilinear, antialiased when shrinking."""
    from PIL.Image import Resampling

    if not size or image.size == (size, size):
        return image
    scale = size / min(image.size)
    # The size that the whole image would be resized to; then the part that the crop keeps.
    to = [max(size, round(length * scale)) for length in image.size]
    start = [(length - size) // 2 * whole / length for length, whole in zip(to, image.size)]
    end = [((length - size) // 2 + size) * whole / length for length, whole in zip(to, image.size)]
    return image.resize((size, size), Resampling.BILINEAR, box=(*start, *end))


def _rgb(image: Any) -> Any:
    from PIL import Image

    if image.mode == "F":
        raise ValueError("its pixels are floating-point numbers; save it with 8 or 16 bits")
    if image.mode.startswith("I"):  # 16 bits, in some formats stored as 32
        wide = np.asarray(image).astype(np.int64)
        if wide.min() < 0 or wide.max() > 65535:
            raise ValueError("its pixels have more than 16 bits")
        image = Image.fromarray(((wide * 255 + 32767) // 65535).astype(np.uint8))
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    return image if image.mode == "RGB" else image.convert("RGB")


def resize(image: np.ndarray, size: int) -> np.ndarray:
    """Shorter side to `size`, then the center square: uint8 [H, W, C] -> [size, size, C]."""
    import cv2

    height, width, channels = image.shape
    if not size or (height, width) == (size, size):
        return image
    scale = size / min(height, width)
    to = max(size, round(width * scale)), max(size, round(height * scale))
    # Averaging areas avoids aliasing when shrinking.
    image = cv2.resize(image, to, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    top, left = (to[1] - size) // 2, (to[0] - size) // 2
    return image.reshape(to[1], to[0], channels)[top : top + size, left : left + size]
