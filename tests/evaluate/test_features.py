import numpy as np
import pytest

from jaxmask.errors import InputError
from jaxmask.evaluate import extract


class Sliced:
    """Images that exist only once a slice of them is requested."""

    def __init__(self, images):
        self._images, self.shape, self.dtype = images, images.shape, images.dtype

    def __len__(self):
        return len(self._images)

    def __getitem__(self, index):
        assert isinstance(index, slice)
        return self._images[index]


@pytest.mark.parametrize("kind", [np.asarray, Sliced])
@pytest.mark.parametrize("count", [1, 7, 8, 20])
def test_every_image_has_its_features_in_order(count, kind):
    images = np.random.default_rng(0).integers(0, 255, (count, 2, 2, 1), np.uint8)
    found = extract(lambda batch: batch.reshape(len(batch), -1) * 2.0, kind(images), batch_size=8)
    np.testing.assert_array_equal(found, images.reshape(count, -1) * 2.0)


def test_no_images_are_refused():
    with pytest.raises(InputError, match="no images"):
        extract(lambda batch: batch, np.zeros((0, 2, 2, 1), np.uint8))
