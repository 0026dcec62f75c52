"""Channel statistics against NumPy in double precision."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxmask.data import Lazy, statistics
from jaxmask.errors import InputError


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 9), st.integers(1, 5), st.integers(1, 4), st.integers(0, 2**32))
def test_equals_numpy(count, side, channels, seed):
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (count, side, side + 1, channels), np.uint8)
    mean, std = statistics(images)
    np.testing.assert_allclose(mean, (images / 255).mean((0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(std, (images / 255).std((0, 1, 2)), rtol=1e-9)


def test_chunks_add_up_and_a_map_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr("jaxmask.data.moments.CHUNK_BYTES", 1000)
    images = np.random.default_rng(0).integers(0, 256, (50, 9, 7, 3), np.uint8)
    np.save(tmp_path / "images.npy", images)
    mean, std = statistics(np.load(tmp_path / "images.npy", mmap_mode="r"))
    np.testing.assert_allclose(mean, (images / 255).mean((0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(std, (images / 255).std((0, 1, 2)), rtol=1e-12)
    assert all(type(value) is float for value in mean + std)


def test_a_constant_channel_has_std_one():
    images = np.full([2, 4, 4, 2], 255, np.uint8)
    images[..., 1] = 51
    assert statistics(images) == ((1.0, 0.2), (1.0, 1.0))


def test_the_order_of_the_examples_does_not_matter():
    images = np.random.default_rng(0).integers(0, 256, (40, 5, 5, 3), np.uint8)
    assert statistics(images) == statistics(images[::-1])


@pytest.mark.parametrize(
    "images", [np.zeros([0, 2, 2, 1], np.uint8), np.zeros([2, 2, 2, 1]), np.zeros([2, 2], np.uint8)]
)
def test_anything_but_images_is_refused(images):
    with pytest.raises(InputError, match="uint8 images"):
        statistics(images)


def test_of_images_made_on_demand_a_sample_is_used_evenly_spaced(monkeypatch):
    monkeypatch.setattr("jaxmask.data.moments.SAMPLE", 5)
    images = np.random.default_rng(0).integers(0, 256, (21, 3, 3, 2), np.uint8)
    made = []

    def make(indices):
        made.extend(indices.tolist())
        return images[indices]

    mean, std = statistics(Lazy(make, (3, 3, 2), np.arange(21)))
    chosen = images[[0, 5, 10, 15, 20]] / 255
    assert sorted(made) == [0, 5, 10, 15, 20]
    np.testing.assert_allclose(mean, chosen.mean((0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(std, chosen.std((0, 1, 2)), rtol=1e-9)
