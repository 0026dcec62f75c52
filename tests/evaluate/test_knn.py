import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits
from sklearn.neighbors import KNeighborsClassifier

from jaxmask.errors import InputError
from jaxmask.evaluate import knn


def by_hand(features, labels, queries, classes, neighbors, temperature):
    """In float64, by a stable sort."""

    def unit(vectors):
        length = np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors.astype(np.float64) / np.where(length > 0, length, 1)

    similar = unit(queries) @ unit(features).T
    nearest = np.argsort(-similar, axis=1, kind="stable")[:, :neighbors]
    scores = np.zeros((len(queries), classes))
    for row, places in enumerate(nearest):
        weights = np.exp((similar[row, places] - similar[row, places[0]]) / temperature)
        np.add.at(scores[row], labels[places], weights)
    return scores


def drawn(seed, examples, queries, size=6, classes=4):
    random = np.random.default_rng(seed)
    return (
        random.normal(size=(examples, size)).astype(np.float32),
        random.integers(0, classes, examples).astype(np.int32),
        random.normal(size=(queries, size)).astype(np.float32),
    )


def doubtful(features, queries, neighbors, near=1e-6):
    """How many neighbors of each query rounding may exchange for others, at the cut."""
    lengths = [
        np.linalg.norm(x.astype(np.float64), axis=1, keepdims=True) for x in (features, queries)
    ]
    similar = (queries / lengths[1]) @ (features / lengths[0]).T
    ranked = -np.sort(-similar, axis=1)
    last, first = ranked[:, neighbors - 1], ranked[:, neighbors]
    inside = (ranked[:, :neighbors] < last[:, None] + near).sum(axis=1)
    return np.where(last - first < near, inside, 0)


def test_it_is_scikit_learns_with_cosine_and_these_weights():
    features, labels = load_digits(return_X_y=True)
    train, test = slice(0, 1200), slice(1200, None)
    theirs = KNeighborsClassifier(
        200, metric="cosine", weights=lambda distances: np.exp((1 - distances) / 0.1)
    ).fit(features[train], labels[train])
    single = features.astype(np.float32)
    scores = np.asarray(knn(single[train], labels[train], single[test], classes=10))
    shares = scores / scores.sum(axis=1, keepdims=True)
    expected = theirs.predict_proba(features[test])
    exchanged = doubtful(features[train], features[test], 200)
    assert (exchanged == 0).mean() > 0.9
    # Each neighbor at the cut has the least vote of all, at most 1/200.
    off = np.abs(shares - expected).max(axis=1)
    assert (off <= 1e-5 + exchanged / 200).all()
    best, second = -np.sort(-expected, axis=1)[:, :2].T
    clear = best - second > 2e-5 + 2 * exchanged / 200
    assert clear.mean() > 0.9
    assert (shares.argmax(-1) == theirs.predict(features[test]))[clear].all()


@pytest.mark.parametrize(
    ("examples", "queries", "block"),
    [
        (300, 9, 1),  # several pieces of the examples, the last of which overlaps the one before
        (300, 9, 4),
        (300, 3, 256),
        (130, 8, 1),
        (5, 3, 2),  # fewer examples than neighbors
        (1, 1, 8),
    ],
)
@pytest.mark.parametrize("temperature", [0.1, 1e-3])
def test_blocks_change_nothing(examples, queries, block, temperature):
    features, labels, asked = drawn(0, examples, queries)
    found = knn(features, labels, asked, classes=4, neighbors=70, temperature=temperature,
                block=block)  # fmt: skip
    expected = by_hand(features, labels, asked, 4, 70, temperature)
    np.testing.assert_allclose(found, expected, rtol=2e-3 if temperature < 0.1 else 1e-4, atol=1e-6)
    assert np.isfinite(found).all()


@settings(max_examples=20)
@given(seed=st.integers(0, 2**32 - 1), scale=st.sampled_from([1e-30, 1.0, 1e30]))
def test_neither_the_order_of_the_examples_nor_a_scale_changes_anything(seed, scale):
    features, labels, queries = drawn(seed, 150, 5)
    assume(not doubtful(features, queries, 20).any())
    order = np.random.default_rng(seed).permutation(150)
    plain = knn(features, labels, queries, classes=4, neighbors=20, block=2)
    other = knn(
        features[order] * np.float32(scale), labels[order], queries, classes=4, neighbors=20,
        block=2,
    )  # fmt: skip
    np.testing.assert_allclose(plain, other, rtol=1e-4, atol=1e-6)


def test_of_equally_similar_examples_the_first_vote():
    features = jnp.ones([200, 3])
    labels = jnp.arange(200) // 50
    for block in (1, 16):  # in four pieces, in one
        scores = knn(features, labels, features[:2], classes=4, neighbors=60, block=block)
        np.testing.assert_allclose(scores, [[50, 10, 0, 0]] * 2, rtol=1e-6)


def test_a_feature_of_zeros_is_equally_similar_to_everything():
    features = jnp.array([[0.0, 0.0], [1.0, 0.0], [-1.0, 0.0]])
    scores = knn(features, jnp.arange(3), features[:2], classes=3, temperature=1.0)
    np.testing.assert_allclose(scores[0], [1, 1, 1], rtol=1e-6)
    np.testing.assert_allclose(scores[1], np.exp([-1.0, 0.0, -2.0]), rtol=1e-6)


def test_small_integers_work():
    features, labels, queries = drawn(3, 40, 3)
    plain = knn(np.round(9 * features), labels, queries, classes=4)
    other = knn(np.int8(np.round(9 * features)), np.uint8(labels), queries, classes=4)
    np.testing.assert_array_equal(plain, other)


def test_another_temperature_compiles_nothing():
    features, labels, queries = drawn(0, 20, 3)
    before = knn._cache_size()
    for temperature in (0.5, 0.25):
        knn(features, labels, queries, classes=4, neighbors=3, temperature=temperature)
    assert knn._cache_size() == before + 1


@pytest.mark.parametrize(
    ("shapes", "options", "message"),
    [
        (((5, 3), (4,), (2, 3)), {}, "features (5, 3) and labels (4,)"),
        (((0, 3), (0,), (2, 3)), {}, "features (0, 3)"),
        (((5, 3), (5,), (2, 4)), {}, "queries (2, 4)"),
        (((5, 3), (5,), (2, 3)), {"neighbors": 0}, "0 neighbors"),
        (((5, 3), (5,), (2, 3)), {"block": 0}, "blocks of 0"),
    ],
)
def test_mismatches_are_refused(shapes, options, message):
    features, labels, queries = (np.zeros(shape) for shape in shapes)
    with pytest.raises(InputError) as error:
        knn(features, labels.astype(int), queries, classes=2, **options)
    assert message in str(error.value)
