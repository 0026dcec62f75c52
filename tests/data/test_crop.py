"""Boxes against torchvision's algorithm in plain Python; resizing against Pillow and PyTorch."""

import math
import random

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy.stats import ks_2samp
from sklearn.datasets import load_sample_image

from jaxmask.data import crop

LARGE, SMALL = (0.14, 1.0), (0.05, 0.14)
ASPECTS = (3 / 4, 4 / 3)
NEARLY_ONE = float(np.float32(1 - 2**-24))


def uniform(count, seed=0):
    return np.random.default_rng(seed).random((count, crop.NUMBERS), np.float32)


def plain(image, scale, draw):
    """(top, left, height, width), by RandomResizedCrop's rules; `draw(a, b)` is uniform."""
    height, width = image
    for _ in range(10):
        area = height * width * draw(*scale)
        aspect = math.exp(draw(math.log(ASPECTS[0]), math.log(ASPECTS[1])))
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            return int(draw(0, height - h + 1)), int(draw(0, width - w + 1)), h, w
    w, h = width, height
    if width / height < ASPECTS[0]:
        h = round(w / ASPECTS[0])
    elif width / height > ASPECTS[1]:
        w = round(h * ASPECTS[1])
    return (height - h) // 2, (width - w) // 2, h, w


def replayed(row):
    """Draws from the numbers of one box, in the order in which `plain` asks for them."""
    areas, aspects, places = row[:10], row[10:20], row[20:]
    count = 0

    def draw(least, most):
        nonlocal count
        whole = isinstance(most, int)
        number = places[draw.placed] if whole else (areas, aspects)[count % 2][count // 2]
        draw.placed, count = draw.placed + whole, count + (not whole)
        return least + (most - least) * float(number)

    draw.placed = 0
    return draw


@pytest.mark.parametrize("image", [(32, 32), (28, 40), (9, 60), (60, 9), (1, 1), (2, 3)])
@pytest.mark.parametrize("scale", [LARGE, SMALL, (0.9, 1.0)])
def test_the_same_numbers_give_the_same_boxes(image, scale, variant):
    numbers = uniform(400)
    found = np.stack(variant(lambda n: crop.boxes(n, image, scale))(numbers), -1)
    expected = np.array([plain(image, scale, replayed(row)) for row in numbers])
    # A side may be half a pixel up to rounding, and then goes either way.
    assert (found != expected).any(-1).mean() < 0.01


@pytest.mark.parametrize(("image", "scale"), [((32, 32), LARGE), ((48, 30), SMALL)])
def test_areas_aspects_and_places_are_distributed_as_in_torchvision(image, scale):
    count = 4000
    draw = random.Random(7).uniform
    found = np.stack(crop.boxes(uniform(count, 3), image, scale), -1).astype(float)
    expected = np.array([plain(image, scale, draw) for _ in range(count)], float)

    def measures(box):
        top, left, height, width = box.T
        # (positions relative to the room; both sides are whole numbers, as are their ties)
        room = np.maximum([image[0] - height, image[1] - width], 1)
        return height * width, width / height, top / room[0], left / room[1]

    for one, other in zip(measures(found), measures(expected)):
        assert ks_2samp(one, other).statistic < 0.045  # 1e-4 of such samples are further apart


@given(
    image=st.tuples(st.integers(1, 70), st.integers(1, 70)),
    scale=st.tuples(st.floats(0.001, 1), st.floats(0.001, 1)).map(sorted),
    seed=st.integers(0, 2**32 - 1),
    extreme=st.sampled_from([None, 0.0, NEARLY_ONE]),
)
def test_boxes_lie_inside_the_image(image, scale, seed, extreme):
    numbers = uniform(50, seed)
    if extreme is not None:
        numbers[::2, seed % 20 :: 1 + seed % 3] = extreme
        numbers[1::2, 20:] = extreme
    box = crop.boxes(jnp.asarray(numbers), image, scale)
    for start, length, pixels in zip(box[:2], box[2:], image):
        assert start.dtype == length.dtype == jnp.int32
        assert (start >= 0).all()
        assert (length >= 1).all()
        assert (start + length <= pixels).all()


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ((30, 300), (0, 130, 30, 40)),  # 4 to 3
        ((300, 30), (130, 0, 40, 30)),  # 3 to 4
        ((1, 9), (0, 4, 1, 1)),
        ((20, 24), (0, 0, 20, 24)),  # all of it
    ],
)
def test_what_fits_in_no_draw_is_cut_from_the_center(image, expected):
    numbers = np.full([1, crop.NUMBERS], 0.99, np.float32)
    numbers[:, 10:20] = [0, NEARLY_ONE] * 5  # aspects of 3/4 and 4/3, too high and too wide
    assert tuple(int(side[0]) for side in crop.boxes(jnp.asarray(numbers), image, (1, 1))) == (
        expected
    )


def test_the_first_draw_that_fits_is_taken():
    numbers = np.full([1, crop.NUMBERS], 0.5, np.float32)
    numbers[:, :3] = 1, 1, 0.0  # whole areas with aspect 3/4 do not fit, the least does
    numbers[:, 10:13] = 0
    box = crop.boxes(jnp.asarray(numbers), (100, 100), (0.03, 1))
    assert (int(box.height[0]), int(box.width[0])) == (20, 15)


def resized(x, box, size):
    top, left, height, width = (jnp.asarray(side) for side in box)
    rows = crop.resize_weights(top, height, x.shape[0], size, np.float32)
    columns = crop.resize_weights(left, width, x.shape[1], size, np.float32)
    return np.einsum("ih,hwc,jw->ijc", rows, x, columns)


BOXES = [
    ((3, 7, 60, 45), 24),  # smaller in both directions
    ((0, 0, 11, 14), 24),  # larger
    ((70, 50, 30, 20), 24),  # one of each, at the corner
    ((20, 30, 24, 24), 24),  # as they are
    ((50, 5, 1, 1), 3),
    ((0, 0, 100, 70), 1),
]


@pytest.fixture(scope="module")
def photograph():
    return np.asarray(load_sample_image("china.jpg")[100:200, 300:370])


@pytest.mark.parametrize(("box", "size"), BOXES)
def test_resizing_is_pillows_crop_and_resize(photograph, box, size):
    top, left, height, width = box
    found = resized(photograph, box, size)
    whole = (left, top, left + width, top + height)

    def pillow(image):
        return np.asarray(image.crop(whole).resize((size, size), Image.Resampling.BILINEAR))

    planes = [Image.fromarray(np.float32(plane)) for plane in np.moveaxis(photograph, -1, 0)]
    np.testing.assert_allclose(found, np.stack([pillow(p) for p in planes], -1), atol=1e-3)
    # of bytes, Pillow rounds after each direction
    assert np.abs(found - pillow(Image.fromarray(photograph))).max() < 1.01


@pytest.mark.parity
@pytest.mark.parametrize(("box", "size"), BOXES)
def test_resizing_is_torchs(photograph, box, size):
    torch = pytest.importorskip("torch")
    top, left, height, width = box
    cut = torch.tensor(photograph[top : top + height, left : left + width]).float()
    expected = torch.nn.functional.interpolate(
        cut.permute(2, 0, 1)[None], (size, size), mode="bilinear", antialias=True
    )[0].permute(1, 2, 0)
    np.testing.assert_allclose(resized(photograph, box, size), expected, atol=2e-3)


def test_resizing_of_the_whole_is_jaxs(photograph):
    expected = jax.image.resize(np.float32(photograph), (13, 90, 3), "bilinear")
    rows = crop.resize_weights(jnp.int32(0), jnp.int32(100), 100, 13, np.float32)
    columns = crop.resize_weights(jnp.int32(0), jnp.int32(70), 70, 90, np.float32)
    np.testing.assert_allclose(
        np.einsum("ih,hwc,jw->ijc", rows, photograph, columns), expected, atol=2e-3
    )


@pytest.mark.parametrize(("pixels", "size"), [(17, 9), (9, 17), (12, 12), (1, 4), (6, 1)])
def test_weights_are_means_of_pixels_of_the_stretch(pixels, size):
    stretches = [(a, b - a) for a in range(pixels) for b in range(a + 1, pixels + 1)]
    start, length = jnp.asarray(stretches, jnp.int32).T
    weights = np.asarray(crop.resize_weights(start, length, pixels, size, np.float32))
    assert weights.shape == (len(stretches), size, pixels)
    np.testing.assert_allclose(weights.sum(-1), 1, rtol=1e-5)
    assert (weights >= 0).all()
    for (first, count), rows in zip(stretches, weights):
        assert (np.delete(rows, np.arange(first, first + count), axis=1) == 0).all()
        used = rows[:, first : first + count]
        np.testing.assert_allclose(used, used[::-1, ::-1], atol=1e-5)  # no shift
        if count >= size:
            assert (used.max(0) > 0).all()  # every pixel counts when shrinking
