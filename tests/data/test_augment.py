"""Augmentation against the same thing in NumPy, image by image."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmask.data import augmentation
from jaxmask.errors import InputError

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)
plain = dict(mean=(0.0,), std=(1 / 255,))  # keeps the pixels' numbers


def batch(count=64, height=7, width=9, channels=3, low=1):
    rng = np.random.default_rng(0)
    return rng.integers(low, 256, (count, height, width, channels), np.uint8)


def placements(result, image, padding):
    """Every (row, column, mirrored) at which cutting the padded image gives `result`."""
    padded = np.pad(image, ((padding, padding), (padding, padding), (0, 0)))
    height, width = image.shape[:2]
    return [
        (top, left, mirrored)
        for top in range(2 * padding + 1)
        for left in range(2 * padding + 1)
        for mirrored in (False, True)
        for cut in [padded[top : top + height, left : left + width]]
        if np.array_equal(cut[:, ::-1] if mirrored else cut, result)
    ]


def pixels(x):
    rounded = np.round(np.asarray(x))
    np.testing.assert_allclose(x, rounded, atol=1e-3)
    return rounded.astype(np.uint8)


def test_evaluation_only_normalizes():
    images = batch()
    x = augmentation(mean=MEAN, std=STD, crop_padding=4, flip=True)(None, images)
    np.testing.assert_allclose(x, (images / 255 - MEAN) / STD, rtol=2e-6, atol=2e-6)
    assert x.dtype == jnp.float32


def test_each_crop_is_some_crop_and_all_of_them_occur():
    images = batch(600)
    augment = augmentation(**plain, crop_padding=2, flip=True)
    found = [
        placements(cut, image, 2)
        for cut, image in zip(pixels(augment(jax.random.key(0), images)), images)
    ]
    assert all(len(places) == 1 for places in found)
    rows, columns, mirrored = np.array([places[0] for places in found]).T
    for offsets in (rows, columns):
        counts = np.bincount(offsets, minlength=5)
        assert len(counts) == 5
        np.testing.assert_allclose(counts / 600, 1 / 5, atol=0.07)  # 4 standard deviations
    assert abs(mirrored.mean() - 0.5) < 0.09
    # Independent of each other: no pair of columns says anything about the third.
    assert abs(np.corrcoef([rows, columns, mirrored]) - np.eye(3)).max() < 0.17


def test_padding_is_black_before_normalization():
    images = np.full([50, 4, 4, 1], 255, np.uint8)
    x = augmentation(mean=(0.5,), std=(0.25,), crop_padding=4)(jax.random.key(0), images)
    np.testing.assert_allclose(np.unique(x), [-2.0, 2.0])


def test_flip_alone_mirrors_about_half_of_the_images():
    images = batch(400)
    out = pixels(augmentation(**plain, flip=True)(jax.random.key(1), images))
    mirrored = np.array([np.array_equal(o, i[:, ::-1]) for o, i in zip(out, images)])
    same = np.array([np.array_equal(o, i) for o, i in zip(out, images)])
    assert (mirrored ^ same).all()
    assert abs(mirrored.mean() - 0.5) < 0.1


def test_crop_alone_mirrors_nothing():
    images = batch(100)
    out = pixels(augmentation(**plain, crop_padding=1)(jax.random.key(1), images))
    assert not any(placements(o, i, 1)[0][2] for o, i in zip(out, images))


def test_the_key_decides():
    augment = augmentation(mean=MEAN, std=STD, crop_padding=2, flip=True)
    one, same, other = (augment(jax.random.key(k), batch()) for k in (0, 0, 1))
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)


@pytest.mark.parametrize("size", [0, 5])
def test_compiled_equals_eager(size):
    augment = augmentation(mean=MEAN, std=STD, crop_padding=2, flip=True, size=size)
    for key in (jax.random.key(3), None):
        compiled = jax.jit(augment)(key, batch())
        np.testing.assert_allclose(
            compiled, augment(key, batch()), rtol=0, atol=0 if not size else 1e-5
        )


def test_works_inside_a_scan_on_uint8():
    augment = augmentation(mean=MEAN, std=STD, crop_padding=2, flip=True)
    chunk = jnp.asarray(batch(12)).reshape(3, 4, 7, 9, 3)
    keys = jax.random.split(jax.random.key(0), 3)
    _, scanned = jax.jit(
        lambda k, c: jax.lax.scan(lambda _, kc: (None, augment(*kc)), None, (k, c))
    )(keys, chunk)
    for i in range(3):
        np.testing.assert_array_equal(scanned[i], augment(keys[i], chunk[i]))


def test_float_only_after_the_crop():
    """The padded batch, the largest array, is bytes."""
    augment = augmentation(mean=MEAN, std=STD, crop_padding=4, flip=True)
    jaxpr = jax.make_jaxpr(augment)(jax.random.key(0), jnp.asarray(batch()))
    padded = [str(v.aval.dtype) for e in jaxpr.eqns for v in e.outvars if v.aval.shape[:1] == (64,)
              and v.aval.shape[1:3] == (15, 17)]  # fmt: skip
    assert padded
    assert set(padded) == {"uint8"}


def test_resize_is_bilinear_and_before_normalizing():
    images = batch(4, 8, 8)
    x = augmentation(mean=MEAN, std=STD, size=4)(None, images)
    assert x.shape == (4, 4, 4, 3)
    # Halving with antialiasing: a triangle of width 4 over pixels 2i-1 .. 2i+2, cut at the edge.
    weights = np.zeros([4, 8])
    for i in range(4):
        for j, weight in zip(range(2 * i - 1, 2 * i + 3), (1, 3, 3, 1)):
            if 0 <= j < 8:
                weights[i, j] = weight
    weights /= weights.sum(1, keepdims=True)
    expected = np.einsum("ih,bhwc,jw->bijc", weights, images / 255, weights)
    np.testing.assert_allclose(x, (expected - MEAN) / STD, atol=1e-5)


def test_size_after_the_crop_keeps_all_images_alike():
    augment = augmentation(mean=MEAN, std=STD, crop_padding=2, flip=True, size=12)
    assert augment(jax.random.key(0), batch()).shape == (64, 12, 12, 3)
    assert augment(None, batch()).shape == (64, 12, 12, 3)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_dtype(dtype):
    x = augmentation(mean=MEAN, std=STD, size=4, dtype=dtype)(None, batch())
    assert x.dtype == dtype


def test_bfloat16_is_rounded_once():
    exact = augmentation(mean=MEAN, std=STD)(None, batch())
    rounded = augmentation(mean=MEAN, std=STD, dtype=jnp.bfloat16)(None, batch())
    np.testing.assert_array_equal(np.float32(rounded), np.float32(exact.astype(jnp.bfloat16)))


def test_one_number_serves_all_channels():
    x = augmentation(mean=(0.5,), std=(0.25,))(None, batch())
    np.testing.assert_allclose(x, (batch() / 255 - 0.5) / 0.25, rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize(
    "options",
    [
        dict(mean=(0.5,), std=(0.0,)),
        dict(mean=(0.5,), std=(-1.0,)),
        dict(mean=(0.5, 0.5), std=(1.0,)),
        dict(mean=(0.5,), std=(1.0,), crop_padding=-1),
        dict(mean=(0.5,), std=(1.0,), size=-1),
    ],
)
def test_bad_settings_are_refused(options):
    with pytest.raises(InputError):
        augmentation(**options)


@pytest.mark.parametrize(
    ("images", "named"),
    [
        (np.zeros([2, 4, 4, 1], np.float32), "uint8"),
        (np.zeros([4, 4, 1], np.uint8), "uint8"),
        (np.zeros([2, 4, 4, 1], np.uint8), "channels"),
    ],
)
def test_bad_images_are_refused(images, named):
    with pytest.raises(InputError, match=named):
        augmentation(mean=MEAN, std=STD)(None, images)
