"""Encoded images (PNG, JPEG, ...) to uint8 arrays, many at a time."""

import numpy as np


def decode(encoded: bytes, channels: int, size: int = 0) -> np.ndarray | None:
    """One image as uint8 [H, W, channels], RGB; None if the bytes are no image.

    Args:
      encoded: the file's bytes.
      channels: 1 (grey), 3 (RGB) or 4 (RGBA); an image that has others is converted.
      size: resize the shorter side to it and cut the centre square; 0 leaves the image as it is.
    """
    import cv2

    flags = {1: cv2.IMREAD_GRAYSCALE, 3: cv2.IMREAD_COLOR, 4: cv2.IMREAD_UNCHANGED}[channels]
    if channels != 4:  # UNCHANGED implies it; no other reader of these datasets turns images
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


def resize(image: np.ndarray, size: int) -> np.ndarray:
    """The shorter side to `size`, then the centre square: uint8 [H, W, C] -> [size, size, C]."""
    import cv2

    height, width, channels = image.shape
    if not size or (height, width) == (size, size):
        return image
    scale = size / min(height, width)
    to = max(size, round(width * scale)), max(size, round(height * scale))
    # Averaging areas is what does not alias when shrinking.
    image = cv2.resize(image, to, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    top, left = (to[1] - size) // 2, (to[0] - size) // 2
    return image.reshape(to[1], to[0], channels)[top : top + size, left : left + size]
