"""Decoding against Pillow, another codec."""

import io

import numpy as np
import pytest
from PIL import Image

from jaxmask.data.decode import decode, resize


def photo(height=40, width=56, channels=3):
    """Smooth, with different channels, so that a swap or a rotation shows."""
    y, x = np.mgrid[0:height, 0:width]
    waves = [127 + 127 * np.sin(x / (7 + 3 * c) + y / (11 - 2 * c)) for c in range(channels)]
    return np.stack(waves, -1).astype(np.uint8)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_png_exactly(tiny, channels):
    image = photo(channels=channels)
    np.testing.assert_array_equal(decode(tiny.encode(image), channels), image)


@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_as_pillow_reads_it(tiny, channels):
    encoded = tiny.encode(photo(channels=channels), "JPEG")
    expected = np.asarray(Image.open(io.BytesIO(encoded))).reshape(40, 56, channels)
    difference = np.abs(decode(encoded, channels).astype(int) - expected)
    assert difference.max() <= 4  # the two may round the inverse transform differently
    assert difference.mean() < 0.5


def test_gray_to_color_and_back(tiny):
    gray = photo(channels=1)
    np.testing.assert_array_equal(decode(tiny.encode(gray), 3), np.repeat(gray, 3, -1))
    np.testing.assert_array_equal(decode(tiny.encode(np.repeat(gray, 3, -1)), 1), gray)


def test_an_orientation_tag_is_ignored():
    """TFDS ignores it too; its labels and boxes are made without it."""
    image, buffer = photo(), io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(image).save(buffer, "JPEG", exif=exif)
    assert decode(buffer.getvalue(), 3).shape == image.shape


@pytest.mark.parametrize("encoded", [b"", b"garbage", b"\x89PNG\r\n\x1a\n" + bytes(50)])
def test_garbage_is_not_an_image(encoded):
    assert decode(encoded, 3) is None


def test_sixteen_bits_are_not_decoded():
    buffer = io.BytesIO()
    Image.fromarray(np.full([4, 4], 3000, np.uint16)).save(buffer, "PNG")
    assert decode(buffer.getvalue(), 4) is None


@pytest.mark.parametrize(
    "shape", [(40, 56), (56, 40), (17, 16), (16, 16), (8, 300), (300, 8), (5, 7)]
)
@pytest.mark.parametrize("channels", [1, 3])
def test_resize_gives_a_square_of_the_size(shape, channels):
    image = np.full([*shape, channels], 77, np.uint8)
    out = resize(image, 16)
    assert (out.shape, out.dtype) == ((16, 16, channels), np.uint8)
    assert (out == 77).all()


def test_resize_keeps_the_center():
    image = np.zeros([20, 60, 1], np.uint8)
    image[:, 20:40] = 255  # the center square
    assert (resize(image, 20) == 255).all()
    assert (resize(image.transpose(1, 0, 2), 20) == 255).all()
    assert (resize(image, 10) == 255).all()


def test_shrinking_averages():
    image = photo(32, 32)
    expected = image.reshape(16, 2, 16, 2, 3).mean((1, 3))
    np.testing.assert_allclose(resize(image, 16), expected, atol=0.51)


def test_no_size_changes_nothing():
    image = photo()
    assert resize(image, 0) is image
