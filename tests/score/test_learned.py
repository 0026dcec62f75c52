"""Learned scores: features against numpy and scipy, and what becomes of pruned weights."""

import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import batch, flat, loss, row, stacked, weights
from scipy.stats import rankdata

from jaxmask import prune, score
from jaxmask.errors import InputError

SUM = score.regressor.linear(jnp.ones(2))


def fixed(*values):
    """A scorer that gives these numbers to the leaves of sizes 2 and 3, whatever the weights."""
    s = np.float32(values)
    return lambda w, *batch: {"a": s[:2].reshape(2, 1), "b": s[2:], "hole": None}


def tree(*values):
    w = np.float32(values)
    return {"a": w[:2].reshape(2, 1), "b": w[2:], "hole": None}


numbers = st.lists(
    st.sampled_from([-3.5, -1.0, 0.0, 0.5, 2.0]) | st.floats(-1e6, 1e6, width=32),
    min_size=5, max_size=5,
)  # fmt: skip
ones_and_zeros = st.lists(st.sampled_from([0, 1, -2]), min_size=5, max_size=5)


@given(numbers, ones_and_zeros)
@settings(max_examples=40)
def test_features_are_scaled_over_what_is_left_in_the_order_of_the_leaves(s, w):
    left = np.array(w) != 0
    found = score.features([fixed(*s)] * 3, ["values", "ranks", "none"])(tree(*w))
    assert found.shape == (5, 3)
    assert found.dtype == jnp.float32
    given = np.float32(s)[left]
    if not left.any():
        assert not found.any()
        return
    np.testing.assert_array_equal(found[left, 2], given)
    if not given.any():
        assert np.isnan(found[:, :2]).all()
        return
    assert not found[~left].any()
    span = float(given.max()) - float(given.min())
    scaled = (given - given.min()) / span if span else 0 * given
    np.testing.assert_allclose(found[left, 0], scaled, rtol=1e-5, atol=1e-6)
    ranks = (rankdata(given) - 1) / max(len(given) - 1, 1)
    np.testing.assert_allclose(found[left, 1], ranks, rtol=1e-6)


def test_scores_have_the_shapes_of_the_weights_and_pruned_ones_the_least():
    w = tree(1, 0, 3, -4, 0)
    scorer = score.learned(SUM, [fixed(5, 9, 7, 6, -9), fixed(0, 9, 1, 4, -9)])
    found = scorer(w)
    assert jax.tree.map(jnp.shape, found) == jax.tree.map(jnp.shape, w)
    np.testing.assert_allclose(flat(found), [0, 0, 1.25, 1.5, 0])


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf, 0.0])
@pytest.mark.parametrize("scale", ["values", "ranks", "none"])
def test_scores_that_are_not_finite_or_all_zero_are_not_hidden_by_a_tree(wrong, scale):
    tree_of_two = score.regressor.trees(
        [[0, 0, 0]], [[0.5, 0, 0]], [[1, 1, 2]], [[2, 1, 2]], [[0.0, 1.0, 2.0]], [1]
    )
    bad = [0.0] * 5 if wrong == 0 else [1.0, wrong, 3.0, 4.0, 5.0]
    scorer = score.learned(tree_of_two, [fixed(1, 2, 3, 4, 5), fixed(*bad)], scale)
    nan = np.isnan(flat(scorer(tree(1, 1, 1, 1, 1))))
    assert nan.all() == (wrong != 0 or scale != "none")
    # that of a pruned weight is nobody's concern
    if wrong != 0:
        assert np.isfinite(flat(scorer(tree(1, 0, 1, 1, 1)))).all()


def test_one_prediction_for_all_says_nothing():
    scorer = score.learned(lambda x: jnp.full(len(x), 0.7), [score.magnitude()])
    assert not flat(scorer(tree(1, 2, 3, 4, 0))).any()
    _, report = prune.multi_shot(scorer, 0.5, 2, report=True)(tree(1, 2, 3, 4, 5))
    assert report.all_zero == 1


def test_the_last_weight_keeps_its_score():
    scorer = score.learned(lambda x: x[:, 0], [score.magnitude()], "none")
    np.testing.assert_array_equal(flat(scorer(tree(0, 0, 3, 0, 0))), 3)
    assert not flat(scorer(tree(0, 0, 0, 0, 0))).any()


PREDICT = {
    "linear": score.regressor.linear(jnp.array([0.3, -2.0]), 0.1),
    "trees": score.regressor.trees(
        [[1, 0, 0], [0, 0, 0]], [[0.2, 0, 0], [0.6, 0, 0]], [[1, 1, 2]] * 2, [[2, 1, 2]] * 2,
        [[0, 0.1, 0.7], [0, 0.3, 0.4]], [1, 1], 0.05,
    ),
    "mlp": score.regressor.mlp(
        [jnp.linspace(-1, 1, 8).reshape(2, 4), jnp.ones((4, 1))], [jnp.zeros(4), jnp.zeros(1)]
    ),
}  # fmt: skip


@pytest.mark.parametrize("scale", ["values", "ranks"])
@pytest.mark.parametrize("kind", PREDICT)
def test_compiled_it_is_the_same_bit_for_bit(kind, scale):
    w = weights()
    scorer = score.learned(PREDICT[kind], [score.magnitude(), score.snip(loss)], scale)
    once = flat(scorer(w, *batch()))
    np.testing.assert_array_equal(flat(jax.jit(scorer)(w, *batch())), once)
    assert len(np.unique(once)) > 2


@pytest.mark.parametrize("kind", PREDICT)
def test_under_vmap(kind):
    scorer = score.learned(PREDICT[kind], [score.magnitude(), score.snip(loss)], "ranks")
    both = [weights(0), weights(1)]
    batched = jax.vmap(lambda w: scorer(w, *batch()))(stacked(both))
    for index, w in enumerate(both):
        found = flat(row(batched, index))
        np.testing.assert_allclose(found, flat(scorer(w, *batch())), rtol=1e-5, atol=1e-6)


def test_it_stacks_on_others_and_others_on_it(x64):
    w = weights()
    learned = score.learned(PREDICT["linear"], [score.magnitude(), score.snip(loss)])
    of_stack = score.learned(
        PREDICT["linear"], [score.stack(score.snip(loss), score.magnitude()), score.snip(loss)]
    )
    x = score.features([score.snip(loss)])(w, *batch())[:, 0]
    np.testing.assert_allclose(flat(of_stack(w, *batch())), 0.3 * x - 2 * x + 0.1, rtol=1e-5)
    stacked = score.stack(learned, score.magnitude())(w, *batch())
    np.testing.assert_array_equal(flat(stacked), np.abs(flat(learned(w, *batch()))))
    # and a learned score is a feature
    again = score.learned(lambda x: x[:, 0], [learned], "none")
    np.testing.assert_allclose(flat(again(w, *batch())), flat(learned(w, *batch())), rtol=1e-6)


def test_in_many_shots_features_are_those_of_what_is_left():
    w = {"w": jnp.array([5.0, -4.0, 3.0, 2.0, 1.0, 0.5])}
    # the middle of the range is kept
    scorer = score.learned(lambda x: -jnp.abs(x[:, 0] - 0.45), [score.magnitude()])
    kept = prune.multi_shot(scorer, 1 / 3, 2, "linear")(w)["w"]
    left = np.ones(6, bool)
    for count in (4, 2):
        size = np.abs(np.asarray(w["w"]))
        low, high = size[left].min(), size[left].max()
        s = np.where(left, -np.abs((size - low) / (high - low) - 0.45), -np.inf)
        left = s >= np.sort(s)[-count]
    np.testing.assert_array_equal(kept, left)


def test_many_rows_are_predicted_in_pieces(monkeypatch):
    x, seen = np.random.default_rng(0).normal(size=(11, 2)).astype(np.float32), []

    def predict(x):
        seen.append(len(x))
        return x @ jnp.array([1.0, 2.0])

    # a function has the name of its module
    module = importlib.import_module("jaxmask.score.learned")
    monkeypatch.setattr(module, "ROWS", 4)
    found = module._in_pieces(jax.tree_util.Partial(predict), jnp.asarray(x))
    np.testing.assert_allclose(found, x @ [1, 2], rtol=1e-5, atol=1e-6)
    assert max(seen[1:]) == 4


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: score.learned(SUM, []), "no scorers"),
        (lambda: score.features([score.magnitude()], "rank"), "'rank'; did you mean 'ranks'"),
        (lambda: score.features([score.magnitude()], ["none", "none"]), "2 scales for 1 scorers"),
        (lambda: score.learned(lambda x: x, [score.magnitude()])(tree(1, 2, 3, 4, 5)),
         r"shape \(5, 1\) for features of shape \(5, 1\)"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(make, message):
    with pytest.raises(InputError, match=message):
        make()
