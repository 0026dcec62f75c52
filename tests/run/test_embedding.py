"""Over how many directions embeddings spread, against numpy."""

import numpy as np
import pytest

from jaxmask.run.embedding import dimensions


def test_opposite_vectors_lie_on_a_line():
    one = np.random.default_rng(0).normal(size=8)
    signs = np.random.default_rng(1).choice([-1.0, 1.0], 50)
    assert dimensions(signs[:, None] * one) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("size", [2, 5, 16])
def test_the_axes_all_alike_count_in_full(size):
    both = np.concatenate([np.eye(size), -np.eye(size)])
    assert dimensions(both) == pytest.approx(size, rel=1e-3)


def test_it_is_the_participation_ratio_of_the_covariance():
    features = np.random.default_rng(0).normal(size=(60, 6)) * np.arange(1, 7)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    values = np.linalg.eigvalsh(np.cov(unit.T))
    assert dimensions(features) == pytest.approx(values.sum() ** 2 / (values**2).sum(), rel=1e-3)


def test_equal_embeddings_have_none():
    assert dimensions(np.ones((9, 4))) == pytest.approx(0, abs=1e-3)
