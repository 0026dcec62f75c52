"""Whitening, against plain numpy."""

import numpy as np
import pytest

from jaxmask import evaluate
from jaxmask.errors import InputError
from jaxmask.evaluate import whitening as made_by


def correlated(count=80, size=7, seed=0):
    random = np.random.default_rng(seed)
    spread = random.normal(size=(size, size)) * np.geomspace(1, 20, size)
    return (random.normal(size=(count, size)) @ spread + random.normal(size=size)).astype(
        np.float32
    )


@pytest.mark.parametrize("kept", [1, 3, 7])
@pytest.mark.parametrize("count", [80, 12])
def test_it_divides_the_principal_components_by_their_singular_values(kept, count):
    features = correlated(count)
    centered = features.astype(np.float64) - features.mean(0, dtype=np.float64)
    left, _, _ = np.linalg.svd(centered, full_matrices=False)
    found = evaluate.whiten(evaluate.whitening(features, kept), features)
    wanted = left[:, :kept] * np.sqrt(count - 1)
    signs = np.sign((found * wanted).sum(0))  # of singular vectors, which are free
    np.testing.assert_allclose(found, wanted * signs, rtol=1e-3, atol=1e-3)


def test_new_examples_are_mapped_as_the_first_were():
    features, new = correlated(), correlated(5, seed=1)
    white = evaluate.whitening(features, 4)
    together = evaluate.whiten(white, np.concatenate([features, new]))
    np.testing.assert_allclose(evaluate.whiten(white, new), together[80:], rtol=1e-4, atol=1e-5)


def test_whitened_features_have_one_variance_and_no_correlation():
    found = np.asarray(evaluate.whiten(evaluate.whitening(correlated(), 7), correlated()))
    np.testing.assert_allclose(np.cov(found.T), np.eye(7), atol=1e-4)


def test_directions_without_variance_become_zero_and_not_noise():
    features = correlated(40, 3)
    wide = np.concatenate([features, features, np.full((40, 2), 3.0, np.float32)], axis=1)
    white = evaluate.whitening(wide, 8)
    found = np.asarray(evaluate.whiten(white, wide))
    assert np.isfinite(found).all()
    assert np.abs(found[:, 3:]).max() == 0
    np.testing.assert_allclose(found[:, :3].std(0, ddof=1), 1, rtol=1e-3)


def test_there_are_no_more_components_than_examples():
    assert evaluate.whitening(correlated(4), 7).directions.shape == (7, 4)


def test_many_features_are_factored_by_their_covariance(monkeypatch):
    features = correlated()
    plain = evaluate.whiten(evaluate.whitening(features, 3), features)
    monkeypatch.setitem(evaluate.whitening.__globals__, "MANY", 2)
    other = evaluate.whiten(evaluate.whitening(features, 3), features)
    np.testing.assert_allclose(np.abs(other), np.abs(plain), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("shape", "size"), [((1, 3), 1), ((4,), 1), ((4, 3), 0)])
def test_what_has_no_components_is_refused(shape, size):
    with pytest.raises(InputError, match="at least"):
        made_by(np.zeros(shape), size)
