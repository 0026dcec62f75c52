"""PCA against NumPy; t-SNE keeps neighbors; both give the same positions again."""

import numpy as np
import pytest

from jaxmask.report import projection

RANDOM = np.random.default_rng(0)
# three groups of 20 in ten dimensions
CENTERS = 6 * RANDOM.normal(size=(3, 10))
GROUPED = np.repeat(CENTERS, 20, axis=0) + 0.2 * RANDOM.normal(size=(60, 10))


def test_unit_rows():
    rows = np.float32([[3, 4], [0, 0], [1e-30, 0]])
    assert projection.unit(rows) == pytest.approx(np.array([[0.6, 0.8], [0, 0], [1, 0]]))


def test_pca_is_the_svd_of_centered_rows():
    found, said = projection.placed(GROUPED, projection.pca)
    left, values, _ = np.linalg.svd(GROUPED - GROUPED.mean(0), full_matrices=False)
    assert np.abs(found) == pytest.approx(np.abs(left[:, :2] * values[:2]))
    share = (values[:2] ** 2).sum() / (values**2).sum()
    assert said == f"{100 * share:.0f} % of the variance"


def test_tsne_keeps_neighbors_together():
    found, _ = projection.placed(GROUPED, projection.tsne)
    distance = np.linalg.norm(found[:, None] - found, axis=-1) + 1e9 * np.eye(60)
    assert (distance.argmin(1) // 20 == np.arange(60) // 20).all()


@pytest.mark.parametrize("way", [projection.pca, projection.tsne])
@pytest.mark.parametrize("features", [GROUPED, GROUPED[:, :1], GROUPED[:3], GROUPED[::20, :2]])
def test_positions_are_two_numbers_and_the_same_again(way, features):
    found, _ = projection.placed(features, way)
    assert found.shape == (len(features), 2)
    assert np.isfinite(found).all()
    assert np.array_equal(found, projection.placed(features, way)[0])


@pytest.mark.parametrize("way", [projection.pca, projection.tsne])
def test_collapsed_embeddings_are_one_point(way):
    found, said = projection.placed(np.full((7, 4), 0.5), way)
    assert not found.any()
    assert said == "all at one point"
