"""The k-NN evaluator: log shares of weighted votes, against a loop in numpy."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from ml_collections import ConfigDict

from jaxmask.adapter.knn import KNN
from jaxmask.errors import InputError


def similarities(features, queries):
    def unit(x):
        return x / np.linalg.norm(x, axis=1, keepdims=True)

    return unit(queries) @ unit(features).T


def log_shares(features, labels, queries, neighbors, temperature, classes):
    found = []
    for similar in similarities(features, queries):
        votes = np.zeros(classes)
        for each in np.argsort(-similar)[:neighbors]:
            votes[labels[each]] += np.exp(similar[each] / temperature)
        found.append(np.log(votes / votes.sum() + 1e-12))
    return np.array(found)


def section(**changes):
    return ConfigDict({**KNN.defaults, **changes})


@settings(max_examples=10)
@given(st.integers(0, 2**16), st.sampled_from([1, 3, 50]), st.sampled_from([0.05, 0.1, 1.0]))
def test_logits_are_the_log_shares_of_the_votes(seed, neighbors, temperature):
    random = np.random.default_rng(seed)
    features, queries = random.normal(size=(20, 4)), random.normal(size=(5, 4))
    labels = random.integers(0, 3, 20)
    gaps = np.diff(np.sort(similarities(features, queries), axis=1), axis=1)
    assume(gaps.min() > 1e-5)  # or rounding decides who is a neighbor
    classifier = KNN.fit(
        jnp.asarray(features, jnp.float32), jnp.asarray(labels), neighbors, 3,
        section(temperature=temperature),
    )  # fmt: skip
    found = classifier.logits(jnp.asarray(queries, jnp.float32))
    wanted = log_shares(features, labels, queries, neighbors, temperature, 3)
    np.testing.assert_allclose(np.exp(found), np.exp(wanted), rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(np.exp(found).sum(axis=1), 1, rtol=1e-5)
    assert np.isfinite(found).all()  # also of a class without a neighbor


def test_what_a_file_holds_classifies_as_the_fitted_one_does():
    random = np.random.default_rng(0)
    features = jnp.asarray(random.normal(size=(20, 4)), jnp.float32)
    labels = jnp.asarray(random.integers(0, 3, 20))
    classifier = KNN.fit(features, labels, 5, 3, section(temperature=0.2))
    assert classifier.stored.settings == {"neighbors": 5, "temperature": 0.2}
    assert (classifier.numbers, classifier.about, classifier.stored.masks) == (0, {"steps": 0}, {})
    again = KNN.classify(classifier.stored.arrays, classifier.stored.settings, features[:6], 3)
    np.testing.assert_array_equal(again, classifier.logits(features[:6]))


def test_the_defaults_can_be_used():
    KNN.check(section())
    assert KNN.field == "neighbors"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"choices": (10, 0)}, "knn.choices has 0"),
        ({"choices": (10, True)}, "knn.choices has True"),
        ({"choices": ("ten",)}, "knn.choices has 'ten'"),
        ({"temperature": 0.0}, r"knn.temperature has 0\.0"),
        ({"temperature": float("inf")}, "knn.temperature has inf"),
    ],
)
def test_values_that_cannot_be_used_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        KNN.check(ConfigDict({**KNN.defaults, **changes}, convert_dict=False))
