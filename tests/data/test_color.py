"""Changes of color against plain NumPy, Python's colorsys and Pillow."""

import colorsys
import itertools

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageEnhance
from sklearn.datasets import load_digits, load_sample_image

from jaxmask.data import color
from jaxmask.errors import InputError

STRENGTHS = (0.8, 0.8, 0.8, 0.2)
LUMA = np.array([0.299, 0.587, 0.114])


@pytest.fixture(scope="module")
def photograph():
    """uint8 [20, 24, 3], with a blue sky, a red roof, a black and a gray pixel."""
    image = np.array(load_sample_image("china.jpg")[60:300:12, 100:388:12])
    image[0, 0], image[0, 1] = 0, 77
    return image


def planes(image):
    return jnp.asarray(np.moveaxis(image, -1, -3), jnp.float32)


def channels_last(x):
    return np.moveaxis(np.asarray(x), -3, -1)


def brightness(x, f):
    return np.clip(f * x, 0, 255)


def contrast(x, f):
    return np.clip(f * x + (1 - f) * (x @ LUMA).mean(), 0, 255)


def saturation(x, f):
    return np.clip(f * x + (1 - f) * (x @ LUMA)[..., None], 0, 255)


def hue(x, shift):
    out = np.empty_like(x)
    for place in np.ndindex(x.shape[:2]):
        h, s, v = colorsys.rgb_to_hsv(*x[place] / 255)
        out[place] = colorsys.hsv_to_rgb((h + shift) % 1, s, v)
    return 255 * out


OPERATIONS = (brightness, contrast, saturation, hue)


def numbers(amounts, order, strengths=STRENGTHS):
    """Random numbers that mean these amounts (three factors and a shift) and this order."""
    neutral = np.array([1, 1, 1, 0])
    shares = (np.array(amounts) - neutral) / strengths
    ranks = np.argsort(order)
    return jnp.asarray([*((shares + 1) / 2), *(ranks / 4 + 0.1)], jnp.float32)


def test_each_order_is_followed(photograph):
    amounts = (1.5, 0.6, 1.7, -0.15)
    orders = list(itertools.permutations(range(4)))
    many = jnp.stack([numbers(amounts, order) for order in orders])
    x = jnp.broadcast_to(planes(photograph), (24, 3, 20, 24))
    found = channels_last(color.jittered(x, color.jitter(many, STRENGTHS)))
    for order, image in zip(orders, found):
        expected = photograph.astype(float)
        for which in order:
            expected = OPERATIONS[which](expected, amounts[which])
        np.testing.assert_allclose(image, expected, atol=0.02)
    # (so the orders differ)
    assert len({image.round(1).tobytes() for image in found}) > 12


@pytest.mark.parametrize("shift", [-0.2, -0.07, 0.0, 0.13, 0.2, 0.5])
def test_hue_is_colorsyss(photograph, shift):
    strengths = (0, 0, 0, 0.5)
    change = color.jitter(numbers((1, 1, 1, shift), range(4), (1, 1, 1, 0.5)), strengths)
    found = channels_last(color.jittered(planes(photograph), change))
    np.testing.assert_allclose(found, hue(photograph.astype(float), shift), atol=0.02)


@pytest.mark.parametrize("value", [0, 1, 128, 255])
def test_gray_has_no_hue_to_turn(value):
    x = jnp.full([3, 2, 2], value, jnp.float32)
    change = color.jitter(numbers((1, 1, 1, 0.2), range(4)), (0, 0, 0, 0.2))
    np.testing.assert_allclose(color.jittered(x, change), x, atol=1e-3)


@pytest.mark.parametrize("factor", [0.2, 0.7, 1.0, 1.8])
@pytest.mark.parametrize(
    ("which", "enhance"),
    [(0, ImageEnhance.Brightness), (1, ImageEnhance.Contrast), (2, ImageEnhance.Color)],
)
def test_blends_are_pillows(photograph, which, enhance, factor):
    amounts = [1.0, 1.0, 1.0, 0.0]
    amounts[which] = factor
    change = color.jitter(numbers(amounts, range(4)), STRENGTHS)
    found = channels_last(color.jittered(planes(photograph), change))
    expected = np.asarray(enhance(Image.fromarray(photograph)).enhance(factor), float)
    assert np.abs(found - expected).max() < 1.6  # Pillow rounds the gray and cuts the result


def test_hue_is_pillows_up_to_its_bytes(photograph):
    shift = 26 / 255  # a whole number of Pillow's steps
    change = color.jitter(numbers((1, 1, 1, shift), range(4)), (0, 0, 0, 0.2))
    found = channels_last(color.jittered(planes(photograph), change))
    h, s, v = Image.fromarray(photograph).convert("HSV").split()
    turned = Image.fromarray(np.asarray(h) + np.uint8(26))
    expected = np.asarray(Image.merge("HSV", (turned, s, v)).convert("RGB"), float)
    assert np.abs(found - expected).max() < 6
    assert np.abs(found - expected).mean() < 1


def test_gray_is_pillows(photograph):
    found = np.asarray(color.gray(planes(photograph)))
    expected = np.asarray(Image.fromarray(photograph).convert("L"), float)
    assert np.abs(found - expected).max() < 1.01


def test_images_of_one_channel_have_brightness_and_contrast_only():
    digit = load_digits().images[3][..., None] * 15.9
    x = planes(digit)
    for order in itertools.permutations(range(4)):
        change = color.jitter(numbers((1.6, 0.5, 0.3, 0.2), order), STRENGTHS)
        found = channels_last(color.jittered(x, change))
        bright, even = (1.6 * digit).clip(0, 255), 0.5 * digit + 0.5 * digit.mean()
        if order.index(0) < order.index(1):
            expected = (0.5 * bright + 0.5 * bright.mean()).clip(0, 255)
        else:
            expected = (1.6 * even).clip(0, 255)
        np.testing.assert_allclose(found, expected, atol=0.01)
    np.testing.assert_array_equal(color.gray(x), digit[..., 0].astype(np.float32))


def test_amounts_are_uniform_and_orders_equally_frequent():
    uniform = np.random.default_rng(5).random((12_000, color.NUMBERS), np.float32)
    strengths = (0.8, 0.4, 0.6, 0.1)
    change = color.jitter(jnp.asarray(uniform), strengths)
    assert change.blends.shape == (12_000, 4, 3)
    assert abs(np.asarray(change.turn)).max() <= 0.1
    np.testing.assert_allclose(np.bincount(change.place) / 12_000, 1 / 4, atol=0.02)
    for which, column in ((1, 2), (2, 1)):  # contrast and saturation are told by their column
        rest = np.asarray(change.blends[..., column]).sum(1)
        np.testing.assert_allclose(
            np.quantile(rest, [0, 0.25, 0.5, 0.75, 1]),
            strengths[which] * np.array([-1, -0.5, 0, 0.5, 1]), atol=0.03,
        )  # fmt: skip
    which = np.asarray(jnp.argsort(jnp.asarray(uniform[:, 4:]), -1))
    frequencies = np.unique(which, axis=0, return_counts=True)[1]
    assert len(frequencies) == 24
    assert abs(frequencies - 500).max() < 110  # 5 standard deviations


def test_each_image_has_the_mean_of_its_own():
    """Contrast 0 leaves the mean gray of each image, whatever its neighbors."""
    x = jnp.asarray(np.random.default_rng(0).uniform(0, 255, (5, 3, 4, 4)), jnp.float32)
    rows = jnp.stack([numbers((1, 0, 1, 0), range(4), (1, 1, 1, 0.2))] * 5)
    found = color.jittered(x, color.jitter(rows, (0, 1, 0, 0)))
    expected = np.einsum("nchw,c->n", x, LUMA)[:, None, None, None] / 16
    np.testing.assert_allclose(found, np.broadcast_to(expected, found.shape), rtol=1e-5)


def test_other_numbers_of_channels_are_refused():
    with pytest.raises(InputError, match="channels"):
        color.gray(jnp.zeros([2, 4, 4]))
