import numpy as np
import pytest

from jaxmask.evaluate import extract


@pytest.mark.parametrize("count", [1, 7, 8, 20])
def test_every_image_has_its_features_in_order(count):
    images = np.random.default_rng(0).integers(0, 255, (count, 2, 2, 1), np.uint8)
    found = extract(lambda batch: batch.reshape(len(batch), -1) * 2.0, images, batch_size=8)
    np.testing.assert_array_equal(found, images.reshape(count, -1) * 2.0)
