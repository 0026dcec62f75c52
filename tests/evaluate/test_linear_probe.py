import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from jaxmask.errors import InputError
from jaxmask.evaluate import linear_probe


@pytest.fixture(scope="module")
def digits():
    features, labels = load_digits(return_X_y=True)
    return features.astype(np.float32), labels.astype(np.int32)


def standardized(features, like):
    deviation = like.std(0)
    return (features - like.mean(0)) / np.where(deviation > 0, deviation, 1)


@pytest.mark.parametrize("regularization", [1e-3, 1e-2, 1e-1])
def test_it_is_scikit_learns_logistic_regression(digits, regularization, monkeypatch):
    features, labels = digits
    train, test = slice(0, 1200), slice(1200, None)
    theirs = LogisticRegression(C=1 / (regularization * 1200), max_iter=5000, tol=1e-8)
    exact = features.astype(np.float64)
    theirs.fit(standardized(exact[train], exact[train]), labels[train])
    others = standardized(exact[test], exact[train])
    probe = linear_probe(features[train], labels[train], regularization, classes=10)
    ours = ((features[test] @ probe.kernel + probe.bias).argmax(-1) == labels[test]).mean()
    assert abs(ours - theirs.score(others, labels[test])) < 2e-3  # at most one example
    # in float64 both can be run to the same solution
    monkeypatch.setattr(sys.modules["jaxmask.evaluate.linear_probe"], "TOLERANCE", 1e-9)
    with jax.enable_x64(True):
        probe = linear_probe(exact[train], labels[train], regularization, classes=10)
        found = jax.nn.softmax(exact[test] @ probe.kernel + probe.bias)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, theirs.predict_proba(others), atol=1e-4)


def test_it_ends_where_the_gradient_vanishes(digits):
    features, labels = digits
    probe = linear_probe(features, labels, 1e-2, classes=10)
    inputs = standardized(features, features)
    kernel = np.asarray(probe.kernel) * np.where(features.std(0) > 0, features.std(0), 1)[:, None]
    bias = np.asarray(probe.bias) + features.mean(0) @ np.asarray(probe.kernel)
    probabilities = np.asarray(jax.nn.softmax(inputs @ kernel + bias))
    error = (probabilities - np.eye(10)[labels]) / len(labels)
    assert np.abs(inputs.T @ error + 1e-2 * kernel).max() < 5e-5
    assert np.abs(error.sum(0)).max() < 5e-5
    assert probe.iterations < 500


def test_another_regularization_compiles_nothing(digits):
    features, labels = digits
    linear_probe(features[:50], labels[:50], 0.75, classes=10)
    before = linear_probe._cache_size()
    for value in (0.5, 0.25):
        linear_probe(features[:50], labels[:50], value, classes=10)
    assert linear_probe._cache_size() == before


def test_features_that_are_constant_or_of_any_scale_are_fine(digits):
    features, labels = digits
    scaled = np.concatenate([1e3 * features + 5e3, np.ones_like(features)], axis=1)
    plain = linear_probe(features, labels, 1e-2, classes=10)
    other = linear_probe(scaled, labels, 1e-2, classes=10)
    a = (features @ plain.kernel + plain.bias).argmax(-1)
    b = (scaled @ other.kernel + other.bias).argmax(-1)
    assert (a == b).mean() > 0.995


def test_correlated_features_need_few_iterations(digits):
    features, labels = digits
    mixed = features @ np.random.default_rng(0).normal(size=(64, 64)).astype(np.float32)
    mixed += 20 * mixed[:, :1]
    probe = linear_probe(mixed, labels, 1e-2, classes=10)
    inputs = standardized(mixed, mixed)
    theirs = LogisticRegression(C=1 / (1e-2 * len(labels)), max_iter=5000, tol=1e-5)
    theirs.fit(inputs, labels)
    assert 2 * probe.iterations < theirs.n_iter_[0]
    lower = objective_of(theirs, inputs, labels) - objective(probe, mixed, labels, 1e-2)
    assert -1e-6 < lower < 1e-5


def objective(probe, features, labels, regularization):
    kernel = np.asarray(probe.kernel, np.float64)
    logits = features.astype(np.float64) @ kernel + np.asarray(probe.bias)
    losses = scipy.special.logsumexp(logits, axis=1) - logits[np.arange(len(labels)), labels]
    deviation = np.where(features.std(0) > 0, features.std(0), 1)
    return losses.mean() + regularization / 2 * ((kernel * deviation[:, None]) ** 2).sum()


def objective_of(theirs, inputs, labels):
    losses = -theirs.predict_log_proba(inputs.astype(np.float64))[np.arange(len(labels)), labels]
    return losses.mean() + 1 / (2 * theirs.C * len(labels)) * (theirs.coef_**2).sum()


@pytest.mark.parametrize("regularization", [0.0, 1e6])
def test_it_ends_without_an_optimum_and_with_one_at_zero(digits, regularization):
    features, labels = digits
    # 50 examples of 64 features are separable: without regularization the weights grow
    probe = linear_probe(features[:50], labels[:50], regularization, classes=10)
    assert all(jnp.isfinite(part).all() for part in probe)
    assert probe.iterations < 500
    right = ((features[:50] @ probe.kernel + probe.bias).argmax(-1) == labels[:50]).mean()
    assert right == 1 if regularization == 0 else jnp.abs(probe.kernel).max() < 1e-3


def test_a_search_ends_lower_however_long_the_proposed_step_is():
    module = sys.modules["jaxmask.evaluate.linear_probe"]
    inputs = jnp.asarray(np.random.default_rng(0).normal(size=(30, 3)), jnp.float32)
    targets = jax.nn.one_hot(jnp.arange(30) % 3, 3)
    start = module._softmax(inputs, targets)
    search = jax.jit(module._line_search)
    flat = jnp.float32(0), jnp.float32(0)
    for length in (1e-4, 1.0, 1e3):
        direction = -length * start.residual
        slope = (start.residual * direction).sum() / 30
        found = search(start, direction, targets, flat, slope)
        assert found.found
        assert found.point.losses.mean() < start.losses.mean()
        end = (found.point.residual * direction).sum() / 30
        assert jnp.abs(end) <= jnp.abs(slope) / 2
    up = search(start, start.residual, targets, flat, -slope / length)
    assert not up.found
    assert up.step == 0


@pytest.mark.parametrize("shapes", [((5, 3), (4,)), ((5,), (5,)), ((0, 3), (0,))])
def test_shapes_that_do_not_match_are_refused(shapes):
    features, labels = (np.zeros(shape, np.float32) for shape in shapes)
    with pytest.raises(InputError, match="do not match"):
        linear_probe(features, labels.astype(int), 0.1, classes=2)


def test_a_search_refuses_a_gentle_slope_higher_up():
    module = sys.modules["jaxmask.evaluate.linear_probe"]
    targets = jax.nn.one_hot(jnp.zeros(2, int), 2)
    start = module._softmax(jnp.array([[0.0, 0.0], [0.0, 20.0]]), targets)
    # the first loss falls by log 2 at most, and at once; the second rises by 10 for a step of 1
    direction = jnp.array([[100.0, 0.0], [-10.0, 0.0]])
    flat = jnp.float32(0), jnp.float32(0)
    found = jax.jit(module._line_search)(start, direction, targets, flat, jnp.float32(-20))
    assert found.found
    assert 0 < found.step < 0.1
    assert found.point.losses.mean() < start.losses.mean()
