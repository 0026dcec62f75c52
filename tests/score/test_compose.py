"""Scores of scores, and scores as weights."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import agree, batch, flat, loss, row, stacked, weights

from jaxmask import score
from jaxmask.errors import InputError

SNIP, MAGNITUDE = score.snip(loss), score.magnitude()


def test_a_stack_is_the_composition(x64):
    w = weights()
    first = SNIP(w, *batch())
    agree(score.stack(SNIP, MAGNITUDE)(w, *batch()), first)
    # both see the batch
    agree(score.stack(MAGNITUDE, SNIP)(w, *batch()), SNIP(MAGNITUDE(w), *batch()))
    agree(score.stack(SNIP, SNIP)(w, *batch()), SNIP(first, *batch()))
    # and a stack is a scorer
    three = score.stack(score.stack(MAGNITUDE, SNIP), SNIP)
    agree(jax.jit(three)(w, *batch()), SNIP(SNIP(MAGNITUDE(w), *batch()), *batch()))


def test_jit_and_vmap_equal_an_eager_loop(x64):
    for composed in (score.stack(MAGNITUDE, SNIP), score.as_weights(SNIP)):
        compiled = jax.jit(jax.vmap(composed, (0, None, None)))
        batched = compiled(stacked([weights(0), weights(1)]), *batch())
        for index in range(2):
            agree(row(batched, index), composed(weights(index), *batch()))


numbers = st.lists(st.integers(-1000, 1000), min_size=5, max_size=5) | st.lists(
    st.sampled_from([-1, 0, 1]), min_size=5, max_size=5
)


@given(numbers, numbers)
@settings(max_examples=20)
def test_scores_as_weights_have_the_weights_signs_and_the_scores_sizes(w, s):
    w = {"a": np.float32(w[:2]), "hole": None, "b": np.float32(w[2:])}
    s = {"a": np.float32(s[:2]), "hole": None, "b": np.float32(s[2:])}
    initial = score.as_weights(lambda w: s)(w)
    chex.assert_trees_all_equal_shapes_and_dtypes(initial, w)
    # however large the scores are as a whole
    doubled = jax.tree.map(lambda leaf: -2 * leaf, s)
    chex.assert_trees_all_equal(score.as_weights(lambda w: doubled)(w), initial, strict=True)
    found = flat(initial)
    largest = np.abs(flat(s)).max()
    assert np.abs(found).max() <= 1
    if largest > 0:
        np.testing.assert_allclose(
            found, np.sign(flat(w)) * np.abs(flat(s)) / largest, rtol=1e-6, atol=1e-37
        )
        winner = np.abs(flat(s)).argmax()
        np.testing.assert_allclose(np.abs(found[winner]), flat(w)[winner] != 0, rtol=1e-6)
    else:
        assert not found.any()


def test_scores_as_weights_of_a_real_criterion(x64):
    w = weights()
    found = score.as_weights(SNIP)(w, *batch())
    np.testing.assert_allclose(np.abs(flat(found)).max(), 1)
    chex.assert_trees_all_equal(jax.tree.map(jnp.sign, found), jax.tree.map(jnp.sign, w))
    sizes = jax.tree.map(jnp.abs, found)
    agree(sizes, jax.tree.map(lambda s: s / flat(SNIP(w, *batch())).max(), SNIP(w, *batch())))


@pytest.mark.parametrize("kind", ["bfloat16", "float32"])
def test_scores_as_weights_keep_the_weights_dtype(kind):
    w = {"a": jnp.array([-2.0, 4.0], kind)}
    wide = score.as_weights(score.stack(MAGNITUDE, lambda w: {"a": w["a"].astype(jnp.float32)}))(w)
    chex.assert_trees_all_equal(wide, {"a": jnp.array([-0.5, 1], kind)}, strict=True)


def test_zeros_empty_leaves_and_empty_trees():
    as_weights = score.as_weights(MAGNITUDE)
    assert as_weights({"a": jnp.zeros(2)})["a"].tolist() == [0, 0]
    found = as_weights({"a": jnp.zeros((0, 3)), "b": jnp.array([-2.0])})
    expected = {"a": jnp.zeros((0, 3)), "b": jnp.array([-1.0])}
    chex.assert_trees_all_equal(found, expected, strict=True)
    assert as_weights({"hole": None}) == {"hole": None}


def test_a_weight_that_is_pruned_is_pruned_for_the_second_stage(x64):
    """Although a gradient is not 0 there."""
    w = jax.tree.map(lambda leaf: jnp.where(jnp.abs(leaf) < 0.3, 0, leaf), weights())
    gradient = score.gradient_norm(loss)
    assert (flat(gradient(w, *batch()))[flat(w) == 0] > 0).any()
    found = score.stack(gradient, MAGNITUDE)(w, *batch())
    np.testing.assert_array_equal(
        flat(found), np.where(flat(w) == 0, 0, flat(gradient(w, *batch())))
    )


@pytest.mark.parametrize(
    ("scores", "divisor"), [([3.0, -1.0, 2.0], 4.0), ([1.0, -1.0, -3.0], 3.0), ([1.0, -1.0, 0], 1)]
)
def test_scores_passed_on_may_be_divided_by_the_size_of_their_sum(scores, divisor):
    w = {"a": jnp.ones(2), "b": jnp.ones(1)}
    given = {"a": jnp.array(scores[:2]), "b": jnp.array(scores[2:])}
    found = score.stack(lambda w: given, lambda w: w, normalize=True)(w)
    np.testing.assert_allclose(flat(found), np.array(scores) / divisor, rtol=1e-6)


S = {"a": np.float32([[4, -2], [0, 1]]), "b": np.float32([-1, 0.5])}
V = {"a": np.float32([[-1, 5], [2, 0]]), "b": np.float32([3, -4])}
SCALED = {
    "global": ({}, [[-1, 0.5], [0, 0]], [0.25, -0.125]),
    "layer": ({"scope": "layer"}, [[-1, 0.5], [0, 0]], [1, -0.5]),
    "own sign": ({"sign": "score"}, [[1, -0.5], [0, 0.25]], [-0.25, 0.125]),
    "own sign, layer": ({"sign": "score", "scope": "layer"}, [[1, -0.5], [0, 0.25]], [-1, 0.5]),
    "shifted": ({"shift": True}, [[-1, 0], [1 / 3, 0]], [1 / 6, -2.5 / 6]),
    "shifted, layer": ({"shift": True, "scope": "layer"}, [[-1, 0], [1 / 3, 0]], [0, -1]),
}


@pytest.mark.parametrize("case", SCALED)
def test_scores_as_weights_are_scaled_by_the_tree_or_by_layer_with_either_sign(case):
    options, a, b = SCALED[case]
    for function in (score.as_weights(lambda w: S, **options),
                     jax.jit(score.as_weights(lambda w: S, **options))):  # fmt: skip
        found = function(V)
        np.testing.assert_allclose(found["a"], a, rtol=1e-6)
        np.testing.assert_allclose(found["b"], b, rtol=1e-6)


def test_each_of_stacked_layers_has_a_scale_of_its_own():
    w = {"blocks": jnp.ones((2, 3, 4))}
    s = {"blocks": jnp.arange(24.0).reshape(2, 3, 4)}
    axes = [("blocks", "layers in out")]
    found = score.as_weights(lambda w: s, "layer", axes=axes)(w)["blocks"]
    assert found.max(axis=(1, 2)).tolist() == [1, 1]
    alone = score.as_weights(lambda w: s, "layer", axes=[("blocks", "window in out")])(w)["blocks"]
    np.testing.assert_allclose(alone, np.arange(24).reshape(2, 3, 4) / 23, rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scope": "tree"}, "unknown scope 'tree'"),
        ({"sign": "weights"}, "unknown sign 'weights'; did you mean 'weight'"),
        ({"shift": None}, "shift None"),
        ({"shift": True, "sign": "score"}, "none keeps its own sign"),
    ],
)
def test_options_that_cannot_be_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        score.as_weights(MAGNITUDE, **options)
