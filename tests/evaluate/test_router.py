"""Routers, against scikit-learn's own predictions on the same components."""

import chex
import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.mixture import GaussianMixture

from jaxmask import evaluate
from jaxmask.errors import InputError

WAYS = {"mixture": "components", "kmeans": "clusters"}


def blobs(seed=0, count=240, size=12, centers=4):
    """Embeddings of any length around a few directions, and which direction each is of."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, centers, count)
    near = random.normal(size=(centers, size))[labels] + 0.15 * random.normal(size=(count, size))
    return (near * random.uniform(1, 30, (count, 1))).astype(np.float32), labels


def components(embeddings, principal):
    """Of unit vectors, whitened, in numpy and scikit-learn."""
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    return PCA(principal, whiten=True, svd_solver="full").fit_transform(unit.astype(np.float64))


def alike(one, other):
    """The share of examples that two clusterings put into corresponding clusters."""
    pairs = np.array([[(one == a) & (other == b) for b in range(4)] for a in range(4)]).sum(-1)
    return pairs.max(1).sum() / len(one)


@pytest.mark.parametrize("name", WAYS)
def test_examples_around_one_direction_share_a_cluster_whatever_their_length(name):
    embeddings, labels = blobs()
    router = evaluate.ROUTERS[name](**{WAYS[name]: 4}, principal=3).fit(embeddings, 0)
    found = np.asarray(evaluate.route(router, embeddings))
    assert alike(found, labels) > 0.97
    np.testing.assert_array_equal(found, evaluate.route(router, 7 * embeddings))


def test_a_mixture_routes_as_scikit_learn_predicts():
    embeddings, _ = blobs(1)
    router = evaluate.mixture(components=3, principal=5).fit(embeddings, 7)
    made = components(embeddings, 5)
    theirs = GaussianMixture(3, max_iter=1000, random_state=7).fit(made)
    logs = theirs._estimate_log_prob(made) + np.log(theirs.weights_)
    clear = np.diff(np.sort(logs, axis=1)[:, -2:])[:, 0] > 0.1
    assert clear.mean() > 0.9
    # principal components have no sign, which the mixture's random start does not see
    assert alike(np.asarray(evaluate.route(router, embeddings))[clear],
                 theirs.predict(made)[clear]) > 0.97  # fmt: skip


def test_kmeans_routes_to_the_nearest_center():
    embeddings, _ = blobs(2)
    router = evaluate.kmeans(clusters=4, principal=4).fit(embeddings, 0)
    theirs = KMeans(4, n_init=10, random_state=0).fit_predict(components(embeddings, 4))
    assert alike(np.asarray(evaluate.route(router, embeddings)), theirs) > 0.97


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 100), st.integers(1, 5), st.integers(1, 4))
def test_the_cluster_has_the_highest_log_of_weight_times_density(seed, clusters, principal):
    from scipy.stats import multivariate_normal

    random = np.random.default_rng(seed)
    white = evaluate.whitening(random.normal(size=(30, 5)).astype(np.float32), principal)
    factors = np.stack(
        [
            np.triu(random.normal(size=(principal, principal)), 1)
            + np.diag(random.uniform(0.5, 2, principal))
            for _ in range(clusters)
        ]
    )
    centers, weights = random.normal(size=(clusters, principal)), random.uniform(size=clusters)
    offsets = np.log(weights) + np.log(np.diagonal(factors, axis1=1, axis2=2)).sum(1)
    router = evaluate.Router(white, centers, factors, offsets)
    queries = random.normal(size=(20, 5)).astype(np.float32)
    unit = queries / np.linalg.norm(queries, axis=1, keepdims=True)
    at = (unit - white.mean) @ white.directions
    logs = np.stack([
        np.log(weight) + multivariate_normal.logpdf(at, center, np.linalg.inv(f @ f.T)).reshape(-1)
        for weight, center, f in zip(weights, centers, factors)
    ])  # fmt: skip
    found = np.asarray(evaluate.route(router, queries))
    chosen, best = np.take_along_axis(logs, found[None], 0)[0], logs.max(0)
    np.testing.assert_allclose(chosen, best, atol=1e-3)


def test_one_seed_gives_one_router_and_jit_changes_nothing():
    embeddings, _ = blobs()
    way = evaluate.mixture(components=3, principal=4)
    one, other = way.fit(embeddings, 3), way.fit(embeddings, 3)
    chex.assert_trees_all_equal(one, other)
    np.testing.assert_array_equal(
        evaluate.route(one, embeddings), jax.jit(evaluate.route)(one, embeddings)
    )


@pytest.mark.parametrize("name", WAYS)
@pytest.mark.parametrize("wrong", [{"principal": 0}, {"principal": 2.5}, {"count": 0}])
def test_a_number_that_is_none_is_refused(name, wrong):
    wrong = {WAYS[name] if key == "count" else key: value for key, value in wrong.items()}
    with pytest.raises(InputError, match=f"router: {next(iter(wrong))} is"):
        evaluate.ROUTERS[name](**wrong)


@pytest.mark.parametrize("name", WAYS)
def test_more_clusters_than_examples_are_refused(name):
    with pytest.raises(InputError, match="5 clusters for 3 examples"):
        evaluate.ROUTERS[name]().fit(np.eye(3, dtype=np.float32), 0)
