"""Views against the same steps in NumPy, Pillow and OpenCV, one image at a time."""

import itertools
import os
import subprocess
import sys

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from scipy.stats import binomtest
from sklearn.datasets import load_digits, load_sample_image

from jaxmask.data import color, crop, view_sizes, views
from jaxmask.data.views import blur_weights
from jaxmask.errors import InputError

pytestmark = pytest.mark.usefixtures("quick_compilation")

PIXELS = dict(mean=(0.0,), std=(1 / 255,))  # keeps the pixels' numbers
STILL = dict(flip=False, jitter=0.0, gray=0.0, blur=0.0)
# A square crop of the whole area is the whole image, so nothing is cut from 8 x 8 pixels.
WHOLE = dict(large_size=8, small_size=8, large_scale=(1, 1), small_scale=(1, 1))
ALL_OF_IT = {**PIXELS, **STILL, **WHOLE}


def photographs(count, height, width):
    """Parts of photographs, no two of them the same, none of the sky alone: uint8 [n, h, w, 3]."""
    random = np.random.default_rng(0)
    whole = [load_sample_image(name)[170:, :, :] for name in ("china.jpg", "flower.jpg")]
    parts = []
    while len(parts) < count:
        top, left = random.integers(0, (257 - 2 * height, 640 - 2 * width))
        part = whole[len(parts) % 2][top : top + 2 * height : 2, left : left + 2 * width : 2]
        if part.std((0, 1)).min() > 20:
            parts.append(part)
    return np.stack(parts)


def digits(count):
    return (load_digits().images[:count, :, :, None] * 15).astype(np.uint8)


def make(images, key=0, **options):
    """(large, small) views by a compiled function."""
    return jax.jit(views(**options))(jax.random.key(key), images)


def check_share(happened, probability):
    assert binomtest(int(np.sum(happened)), np.size(happened), probability).pvalue > 1e-4


def close(a, b, axes=(-3, -2, -1), atol=1e-2):
    return np.abs(np.asarray(a) - b).max(axes) < atol


@pytest.mark.parametrize("channels", [1, 3])
def test_shapes_and_normalization(channels):
    images = photographs(3, 20, 30) if channels == 3 else digits(3)
    mean, std = (0.4, 0.5, 0.6)[:channels], (0.2, 0.25, 0.3)[:channels]
    sizes = dict(large_size=12, small_size=5, large=2, small=4)
    found = make(images, mean=mean, std=std, **sizes)
    assert [x.shape for x in found] == [(2, 3, 12, 12, channels), (4, 3, 5, 5, channels)]
    for one, plain in zip(found, make(images, **PIXELS, **sizes)):
        assert one.dtype == jnp.float32
        assert float(plain.min()) >= 0
        assert float(plain.max()) <= 255.001
        np.testing.assert_allclose(one, (plain / 255 - np.array(mean)) / np.array(std), atol=1e-4)


def test_without_any_change_a_view_is_the_image():
    images = photographs(4, 8, 8)
    for x in make(images, **ALL_OF_IT):
        np.testing.assert_allclose(x, np.broadcast_to(images, x.shape), atol=1e-3)


def test_about_half_of_the_views_are_mirrored():
    images = photographs(50, 8, 8)
    for x in make(images, **{**ALL_OF_IT, "flip": True}):
        same, mirrored = close(x, images), close(x, images[:, :, ::-1])
        assert (same ^ mirrored).all()
        check_share(mirrored, 0.5)
        assert mirrored.mean(0).std() > 0  # each view its own


@pytest.mark.parametrize(
    ("option", "probability"), [("jitter", 0.8), ("gray", 0.2), ("gray", 0.7), ("jitter", 0.3)]
)
def test_changes_of_color_happen_as_often_as_said(option, probability):
    images = photographs(60, 8, 8)
    for x in make(images, 4, **{**ALL_OF_IT, option: probability}):
        check_share(~close(x, images), probability)


def test_gray_is_the_weighted_mean_in_all_channels():
    images = photographs(5, 8, 8)
    expected = np.repeat(images @ np.array(color.LUMA)[:, None], 3, -1)
    for x in make(images, **{**ALL_OF_IT, "gray": 1.0}):
        np.testing.assert_allclose(x, np.broadcast_to(expected, x.shape), atol=1e-3)


def test_blur_happens_as_often_as_said_and_with_sigmas_of_all_sizes():
    """With sigma in pixels of large views, here 224, and small views of 16 to be quick."""
    images = photographs(60, 16, 16)
    options = {**ALL_OF_IT, "large_size": 224, "small_size": 16, "large": 0, "small": 4}
    _, x = make(images, **{**options, "blur": 0.5})
    x = np.asarray(x)
    changed = ~close(x, images, atol=1)
    check_share(changed, 0.5 * (2 - 0.29) / 1.9)  # a sigma under about 0.29 changes nothing
    candidates = np.linspace(0.1, 2, 96)
    sigmas = []
    for view, image in zip(x[changed], np.broadcast_to(images, x.shape)[changed]):
        image = image.astype(np.float32)
        blurred = [cv2.GaussianBlur(image, (23, 23), sigma) for sigma in candidates]
        distances = [np.abs(each - view).max() for each in blurred]
        assert min(distances) < 4  # between two candidates
        sigmas.append(candidates[np.argmin(distances)])
    np.testing.assert_allclose(np.quantile(sigmas, [0.25, 0.5, 0.75]), [0.72, 1.15, 1.57], atol=0.3)


@pytest.mark.parametrize(("sigma", "size"), [(0.1, 9), (0.5, 12), (1.3, 12), (2.0, 16), (2.0, 96)])
def test_blur_is_opencvs(sigma, size):
    image = photographs(1, size, size)[0].astype(np.float32)
    weights = np.asarray(blur_weights(jnp.float32(sigma), size))
    found = np.einsum("ih,hwc,jw->ijc", weights, image, weights)
    expected = cv2.GaussianBlur(image, (23, 23), sigma)
    np.testing.assert_allclose(found, expected, atol=0.02)
    np.testing.assert_allclose(weights.sum(1), 1, rtol=1e-6)


def test_blur_is_in_proportion_to_the_large_size():
    """A lone white pixel keeps about 1 / (2 pi sigma^2) of its light."""
    images = np.zeros([40, 21, 21, 1], np.uint8)
    images[:, 10, 10] = 255
    sigma = {}
    for large_size in (224, 448):
        options = {**ALL_OF_IT, "blur": 1.0, "large": 0, "small": 1, "small_size": 21}
        _, x = make(images, **{**options, "large_size": large_size})
        kept = np.asarray(x)[0, :, 10, 10, 0] / 255
        sigma[large_size] = 1 / np.sqrt(2 * np.pi * kept)
    assert sigma[224].max() < 2.01
    wide = sigma[224] > 0.7  # where the sum over pixels is about an integral
    assert wide.sum() > 10
    np.testing.assert_allclose(sigma[448][wide], 2 * sigma[224][wide], rtol=0.02)


def plain_views(key, images, size, count, scale, strengths, blur_unit):
    """[count, B, size, size, C]: the steps in their order, from the same random numbers."""
    rows = np.asarray(jax.random.uniform(key, (len(images), count, 35)), np.float64)
    boxes = np.stack(crop.boxes(jnp.float32(rows[..., :22]), images.shape[1:3], scale), -1)
    made = np.empty((count, len(images), size, size, 3))
    for place in np.ndindex(count, len(images)):
        row = rows[place[::-1]]
        top, left, height, width = (int(side) for side in boxes[place[::-1]])
        flip, jitter, gray, blur, sigma = row[30:]
        planes = [Image.fromarray(np.float32(p)) for p in np.moveaxis(images[place[1]], -1, 0)]
        box = (left, top, left + width, top + height)
        cut = [p.crop(box).resize((size, size), Image.Resampling.BILINEAR) for p in planes]
        x = np.stack([np.asarray(p) for p in cut], -1)
        x = x[:, ::-1] if flip < 0.5 else x
        if jitter < 0.8:
            change = color.jitter(jnp.float32(row[22:30]), strengths)
            x = np.moveaxis(np.asarray(color.jittered(jnp.moveaxis(x, -1, 0), change)), 0, -1)
        if gray < 0.2:
            x = np.repeat(x @ np.array(color.LUMA)[:, None], 3, -1)
        if blur < 0.5:
            x = cv2.GaussianBlur(x, (23, 23), (0.1 + 1.9 * sigma) * blur_unit)
        made[place] = x
    return made


def test_the_steps_follow_each_other_as_in_swav():
    images = photographs(6, 30, 40)
    sizes = dict(large_size=48, small_size=14, large=1, small=3)
    found = make(images, 11, **PIXELS, **sizes)
    keys = jax.random.split(jax.random.key(11))
    for x, key, size, count, scale in zip(
        found, keys, (48, 14), (1, 3), ((0.14, 1.0), (0.05, 0.14))
    ):
        expected = plain_views(key, images, size, count, scale, (0.8, 0.8, 0.8, 0.2), 48 / 224)
        np.testing.assert_allclose(x, expected, atol=0.05)


def test_each_view_of_each_image_has_its_own_numbers():
    images = np.repeat(photographs(1, 24, 24), 3, 0)
    for x in make(images, **PIXELS, large_size=10, small_size=6):
        flat = np.asarray(x).reshape(-1, x[0, 0].size)
        for one, other in itertools.combinations(flat, 2):
            assert not np.allclose(one, other, atol=1)


def test_the_key_decides():
    images = photographs(2, 24, 24)
    compiled = jax.jit(views(**PIXELS, large_size=10, small_size=6))
    one, same, other = (compiled(jax.random.key(k), images) for k in (0, 0, 1))
    for a, b, c in zip(one, same, other):
        np.testing.assert_array_equal(a, b)
        assert not np.allclose(a, c, atol=1)


def test_compiled_equals_eager():
    images = photographs(3, 24, 20)
    eager = views(**PIXELS, large_size=8, small_size=8, small=2)  # alike, so compiled once
    for a, b in zip(jax.jit(eager)(jax.random.key(5), images), eager(jax.random.key(5), images)):
        np.testing.assert_allclose(a, b, atol=0.02)


def test_works_inside_a_scan():
    function = views(**PIXELS, large_size=10, small_size=6, large=1, small=2)
    images = jnp.asarray(photographs(6, 12, 12)).reshape(3, 2, 12, 12, 3)
    keys = jax.random.split(jax.random.key(0), 3)
    _, scanned = jax.lax.scan(lambda _, step: (None, function(*step)), None, (keys, images))
    alone = jax.jit(function)
    for index in range(3):
        for a, b in zip(scanned, alone(keys[index], images[index])):
            np.testing.assert_allclose(a[index], b, atol=0.02)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_other_dtypes_hold_the_same_views(dtype):
    images = photographs(3, 24, 20)
    options = dict(mean=(0.5,), std=(0.25,), large_size=10, small_size=6)
    found = make(images, **options, dtype=dtype)
    for a, b in zip(found, make(images, **options)):
        assert a.dtype == dtype
        # rounded once, at the end
        unit = float(jnp.finfo(dtype).eps)
        np.testing.assert_allclose(np.float32(a), b, rtol=0.6 * unit, atol=1e-4)


def test_nothing_or_one_kind_of_views():
    images = photographs(2, 12, 12)
    large, small = make(images, **PIXELS, large_size=10, small_size=6, small=0)
    assert large.shape == (2, 2, 10, 10, 3)
    assert small.shape == (0, 2, 6, 6, 3)


EIGHT = """
import jax, numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from jaxmask.data import views
make = jax.jit(views(mean=(0.0,), std=(1 / 255,), large_size=10, small_size=6))
images = np.random.default_rng(0).integers(0, 256, (16, 12, 14, 3), np.uint8)
one = make(jax.random.key(0), jax.device_put(images, jax.devices()[0]))
for kind in (AxisType.Auto, AxisType.Explicit):
    mesh = jax.make_mesh((8,), ("data",), axis_types=(kind,))
    across = jax.device_put(images, NamedSharding(mesh, PartitionSpec("data")))
    with jax.set_mesh(mesh):
        compiled = make.lower(jax.random.key(0), across).compile()
        many = compiled(jax.random.key(0), across)
    for a, b in zip(one, many):
        np.testing.assert_allclose(a, b, atol=0.02)
        assert b.sharding.spec[:2] == (None, "data"), b.sharding
    assert "all-" not in compiled.as_text()
print(len(jax.devices()), "devices")
"""


def test_eight_devices_make_what_one_makes_without_talking_to_each_other():
    flags = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
    path = os.pathsep.join(filter(None, sys.path))
    done = subprocess.run(
        [sys.executable, "-c", EIGHT],
        env={**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "8 devices\n", done.stdout + done.stderr


def test_sizes_of_views():
    sides = (224, 32, 28, 64, 96, 8, 256, 299, 7, 2, 1)
    small = {side: view_sizes(side)[1] for side in sides}
    assert small == {
        224: 96, 32: 16, 28: 12, 64: 32, 96: 48, 8: 4, 256: 128, 299: 128, 7: 3, 2: 1, 1: 1,
    }  # fmt: skip
    for side in range(1, 520):
        assert view_sizes(side)[0] == side
        assert 1 <= view_sizes(side)[1] <= side
    with pytest.raises(InputError, match="side"):
        view_sizes(0)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (dict(std=(0.0,)), "std"),
        (dict(mean=(0.5, 0.5)), "channel"),
        (dict(large_size=0), "large_size"),
        (dict(small_size=-3), "small_size"),
        (dict(large_size=32.5), "large_size"),
        (dict(large=-1), "large"),
        (dict(large=2.0), "large"),
        (dict(small=-1), "small"),
        (dict(large_scale=(0.0, 1.0)), "large_scale"),
        (dict(large_scale=(0.5, 1.1)), "large_scale"),
        (dict(small_scale=(0.2, 0.1)), "small_scale"),
        (dict(small_scale=(0.2,)), "small_scale"),
        (dict(jitter=1.2), "jitter"),
        (dict(gray=-0.1), "gray"),
        (dict(blur=float("nan")), "blur"),
        (dict(strengths=(0.8, 0.8, 0.8)), "strengths"),
        (dict(strengths=(1.8, 0.8, 0.8, 0.2)), "strengths"),
        (dict(strengths=(0.8, 0.8, 0.8, 0.6)), "hue"),
    ],
)
def test_bad_settings_are_refused(options, named):
    with pytest.raises(InputError, match=named):
        views(**{**PIXELS, "large_size": 8, "small_size": 4, **options})


@pytest.mark.parametrize(
    ("images", "named"),
    [
        (np.zeros([2, 8, 8, 3], np.float32), "uint8"),
        (np.zeros([2, 8, 8, 3], np.int32), "uint8"),
        (np.zeros([8, 8, 3], np.uint8), "uint8"),
        (np.zeros([2, 8, 8, 2], np.uint8), "1 or 3"),
        (np.zeros([2, 8, 8, 4], np.uint8), "1 or 3"),
        (np.zeros([2, 0, 8, 3], np.uint8), "0, 8, 3"),
    ],
)
def test_bad_images_are_refused(images, named):
    with pytest.raises(InputError, match=named):
        make(images, **PIXELS, large_size=8, small_size=4)


def test_mean_and_std_are_of_as_many_channels_as_the_images():
    with pytest.raises(InputError, match="channels"):
        make(digits(2), mean=(0.1, 0.2, 0.3), std=(1.0, 1.0, 1.0), large_size=8, small_size=4)
