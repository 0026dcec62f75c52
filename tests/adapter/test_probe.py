"""The linear probe as an evaluator: its head is stored, and gives its logits."""

import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict
from sklearn.linear_model import LogisticRegression

from jaxmask.adapter.probe import LINEAR_PROBE
from jaxmask.errors import InputError


def section(**changes):
    return ConfigDict({**LINEAR_PROBE.defaults, **changes})


def problem():
    random = np.random.default_rng(0)
    labels = random.integers(0, 3, 60)
    features = 2 * random.normal(size=(60, 4)) + labels[:, None] * [1, -1, 0, 2] + 5
    return jnp.asarray(features, jnp.float32), jnp.asarray(labels)


def test_the_stored_head_gives_the_logits_and_is_what_scikit_learn_finds():
    features, labels = problem()
    classifier = LINEAR_PROBE.fit(features, labels, 0.05, 3, section())
    head = classifier.stored.arrays["params"]["head"]
    logits = np.asarray(features) @ np.asarray(head["kernel"]) + np.asarray(head["bias"])
    np.testing.assert_allclose(classifier.logits(features), logits, rtol=1e-4, atol=1e-4)
    x = (features - features.mean(0)) / features.std(0)
    reference = LogisticRegression(C=1 / (0.05 * 60), tol=1e-8, max_iter=1000).fit(x, labels)
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(shares, reference.predict_proba(x), atol=1e-3)
    assert classifier.numbers == 4 * 3 + 3
    assert classifier.about["converged"] is True
    assert 0 < classifier.about["steps"] < 500
    assert (classifier.stored.masks, classifier.stored.settings) == ({}, {})


def test_too_few_iterations_are_told():
    classifier = LINEAR_PROBE.fit(*problem(), 1e-4, 3, section(iterations=2))
    assert classifier.about == {"steps": 2, "converged": False}


def test_the_networks_own_head_classifies():
    assert LINEAR_PROBE.classify is None
    assert LINEAR_PROBE.field == "regularization"


@pytest.mark.parametrize("iterations", [0, -3, 2.5, "many"])
def test_iterations_that_cannot_be_are_refused(iterations):
    LINEAR_PROBE.check(section())
    with pytest.raises(InputError, match=r"linear_probe\.iterations has"):
        LINEAR_PROBE.check(ConfigDict({**LINEAR_PROBE.defaults, "iterations": iterations}))
