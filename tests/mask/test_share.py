"""Selective masking: exact shares, unselected weights on for ever and without gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxmask import mask
from jaxmask.errors import InputError

KEY = jax.random.key(2)
WEIGHTS = {"a": jax.random.normal(KEY, (20, 5)), "b": {"c": jnp.arange(-5.0, 5.0)}, "hole": None}


def counts(tree):
    return [int(leaf.sum()) for leaf in jax.tree.leaves(tree)]


@pytest.mark.parametrize("share", [0.1, 0.3, 0.9, 1])
def test_shares_are_exact_and_dtypes_bool(share):
    for selected in (mask.random_share(KEY, WEIGHTS, share), mask.largest_share(WEIGHTS, share)):
        assert counts(selected) == [round(100 * share), round(10 * share)]
        assert all(leaf.dtype == bool for leaf in jax.tree.leaves(selected))
        assert jax.tree.structure(selected) == jax.tree.structure(WEIGHTS)
    whole = mask.random_share(KEY, WEIGHTS, share, scope="global")
    assert sum(counts(whole)) == round(110 * share)
    assert sum(counts(mask.largest_share(WEIGHTS, share, scope="global"))) == round(110 * share)


def test_largest_share_selects_the_largest_magnitudes():
    selected = mask.largest_share({"w": jnp.array([1.0, -4.0, 3.0, -2.0])}, 0.5)
    assert selected["w"].tolist() == [False, True, True, False]
    whole = mask.largest_share({"v": jnp.array([9.0, -8.0]), "w": jnp.ones(4)}, 0.33, "global")
    assert counts(whole) == [2, 0]


def test_random_share_follows_key_and_path():
    big = {"w": jnp.ones(1000)}
    first, again = (mask.random_share(KEY, big, 0.5)["w"] for _ in range(2))
    other = mask.random_share(jax.random.key(3), big, 0.5)["w"]
    assert jnp.array_equal(first, again)
    assert 400 < int((first != other).sum()) < 600
    more = mask.random_share(KEY, {"v": jnp.ones(7), **big}, 0.5)["w"]
    assert jnp.array_equal(first, more)


@pytest.mark.parametrize(
    "tx",
    [mask.threshold(init=mask.normal()), mask.sign(), mask.top_k(0.8), mask.top_k(0.8, "global")],
    ids=["threshold", "sign", "top_k", "top_k global"],
)
def test_unselected_weights_stay_on_without_gradient(tx):
    selected = mask.random_share(jax.random.key(7), WEIGHTS, 0.5)
    part = mask.selective(tx, selected)
    scores = part.init(KEY, WEIGHTS)
    optimizer = optax.sgd(5.0, momentum=0.9)

    def loss(s):
        return sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(part.apply(s, WEIGHTS)))

    @jax.jit
    def step(s, moments):
        gradient = jax.grad(loss)(s)
        updates, moments = optimizer.update(gradient, moments)
        return optax.apply_updates(s, updates), moments, gradient

    start, moments = part.mask(scores), optimizer.init(scores)
    learned = scores
    for _ in range(5):
        learned, moments, gradient = step(learned, moments)
        for chosen, m, g in zip(*map(jax.tree.leaves, (selected, part.mask(learned), gradient))):
            assert (np.asarray(m)[~chosen] == 1).all()
            assert (np.asarray(g)[~chosen] == 0).all()
    assert mask.measure.hamming(start, part.mask(learned)) > 0
    for chosen, before, after in zip(*map(jax.tree.leaves, (selected, scores, learned))):
        np.testing.assert_array_equal(np.asarray(before)[~chosen], np.asarray(after)[~chosen])


def test_selected_scores_are_masked_as_ever():
    tx = mask.threshold(init=mask.normal())
    scores = tx.init(KEY, WEIGHTS)
    everything = mask.selective(tx, jax.tree.map(lambda w: jnp.ones(w.shape, bool), WEIGHTS))
    jax.tree.map(np.testing.assert_array_equal, everything.mask(scores), tx.mask(scores))
    # one bool for a leaf
    part = mask.selective(tx, {"a": True, "b": {"c": False}, "hole": None})
    masks = part.mask(scores)
    np.testing.assert_array_equal(masks["a"], tx.mask(scores)["a"])
    assert masks["b"]["c"].all()


def test_selected_may_be_traced():
    tx = mask.threshold(init=mask.normal())
    scores = tx.init(KEY, WEIGHTS)
    selected = mask.largest_share(WEIGHTS, 0.2)
    run = jax.jit(lambda chosen, s: mask.selective(tx, chosen).apply(s, WEIGHTS))
    expected = mask.selective(tx, selected).apply(scores, WEIGHTS)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), run(selected, scores), expected
    )


def test_wrong_arguments():
    with pytest.raises(InputError, match="share 0"):
        mask.random_share(KEY, WEIGHTS, 0)
    with pytest.raises(InputError, match=r"share 1\.1"):
        mask.largest_share(WEIGHTS, 1.1)
    with pytest.raises(InputError, match="scope"):
        mask.largest_share(WEIGHTS, 0.5, "leaf")
    with pytest.raises(InputError, match="key"):
        mask.random_share(None, WEIGHTS, 0.5)
    scores = {"w": jnp.ones(3)}
    for wrong in (jnp.ones(2, bool), jnp.ones(3), 1):
        with pytest.raises(InputError, match="selected: 'w'"):
            mask.selective(mask.threshold(), {"w": wrong}).mask(scores)
    with pytest.raises(InputError, match="no 'w'"):
        mask.selective(mask.threshold(), {"v": True}).mask(scores)
