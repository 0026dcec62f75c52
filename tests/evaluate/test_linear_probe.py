import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from jaxmask.evaluate import linear_probe


@pytest.fixture(scope="module")
def digits():
    features, labels = load_digits(return_X_y=True)
    return features.astype(np.float32), labels.astype(np.int32)


def standardised(features, like):
    deviation = like.std(0)
    return (features - like.mean(0)) / np.where(deviation > 0, deviation, 1)


@pytest.mark.parametrize("regularisation", [1e-3, 1e-2, 1e-1])
def test_it_is_scikit_learns_logistic_regression(digits, regularisation):
    features, labels = digits
    train, test = slice(0, 1200), slice(1200, None)
    probe = linear_probe(features[train], labels[train], regularisation, classes=10)
    logits = features[test] @ probe.kernel + probe.bias
    theirs = LogisticRegression(C=1 / (regularisation * 1200), max_iter=5000, tol=1e-8)
    theirs.fit(standardised(features[train], features[train]), labels[train])
    expected = theirs.predict_proba(standardised(features[test], features[train]))
    # in float32 the optimum is flat: a largest gradient of 1e-5 leaves this much
    np.testing.assert_allclose(jax.nn.softmax(logits), expected, atol=1e-2)
    ours = (logits.argmax(-1) == labels[test]).mean()
    assert abs(ours - theirs.score(standardised(features[test], features[train]),
                                   labels[test])) < 2e-3  # fmt: skip


def test_it_ends_where_the_gradient_vanishes(digits):
    features, labels = digits
    probe = linear_probe(features, labels, 1e-2, classes=10)
    inputs = standardised(features, features)
    kernel = np.asarray(probe.kernel) * np.where(features.std(0) > 0, features.std(0), 1)[:, None]
    bias = np.asarray(probe.bias) + features.mean(0) @ np.asarray(probe.kernel)
    probabilities = np.asarray(jax.nn.softmax(inputs @ kernel + bias))
    error = (probabilities - np.eye(10)[labels]) / len(labels)
    assert np.abs(inputs.T @ error + 1e-2 * kernel).max() < 5e-5
    assert np.abs(error.sum(0)).max() < 5e-5
    assert probe.iterations < 500


def test_another_regularisation_compiles_nothing(digits):
    features, labels = digits
    before = linear_probe._cache_size()
    for value in (0.5, 0.25):
        linear_probe(features[:99], labels[:99], jnp.float32(value), classes=10)
    assert linear_probe._cache_size() == before + 1


def test_features_that_are_constant_or_of_any_scale_are_fine(digits):
    features, labels = digits
    scaled = np.concatenate([1e3 * features + 5e3, np.ones_like(features)], axis=1)
    plain = linear_probe(features, labels, 1e-2, classes=10)
    other = linear_probe(scaled, labels, 1e-2, classes=10)
    a = (features @ plain.kernel + plain.bias).argmax(-1)
    b = (scaled @ other.kernel + other.bias).argmax(-1)
    assert (a == b).mean() > 0.995
