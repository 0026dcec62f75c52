"""Selective masking: exact shares, unselected weights on for ever and without gradient."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from jaxmask import mask
from jaxmask.errors import InputError

KEY = jax.random.key(2)
WEIGHTS = {"a": jax.random.normal(KEY, (20, 5)), "b": {"c": jnp.arange(-5.0, 5.0)}, "hole": None}


def counts(tree):
    return [int(leaf.sum()) for leaf in jax.tree.leaves(tree)]


def equal(found, expected):
    """Bit for bit, and of one structure, shapes and dtypes."""
    chex.assert_trees_all_equal(found, expected, strict=True)


@pytest.mark.parametrize("share", [0.1, 0.3, 0.9, 1])
def test_shares_are_exact_and_dtypes_bool(share):
    for selected in (mask.random_share(KEY, WEIGHTS, share), mask.largest_share(WEIGHTS, share)):
        assert counts(selected) == [round(100 * share), round(10 * share)]
        chex.assert_trees_all_equal_shapes(selected, WEIGHTS)
        chex.assert_type(jax.tree.leaves(selected), bool)
    whole = mask.random_share(KEY, WEIGHTS, share, scope="global")
    assert sum(counts(whole)) == round(110 * share)
    assert sum(counts(mask.largest_share(WEIGHTS, share, scope="global"))) == round(110 * share)


def test_largest_share_selects_the_largest_magnitudes():
    selected = mask.largest_share({"w": jnp.array([1.0, -4.0, 3.0, -2.0])}, 0.5)
    assert selected["w"].tolist() == [False, True, True, False]
    whole = mask.largest_share({"v": jnp.array([9.0, -8.0]), "w": jnp.ones(4)}, 0.33, "global")
    assert counts(whole) == [2, 0]


scopes = st.sampled_from(["layer", "global", "erk"])


@given(st.integers(0, 2**32 - 1), st.integers(1, 100), scopes, st.integers(-20, 20))
@settings(max_examples=20)
def test_largest_share_depends_on_the_order_of_the_magnitudes_alone(seed, percent, scope, exponent):
    rng = np.random.default_rng(seed)
    sizes = rng.permutation(20).astype(np.float32)
    weights = {"a": sizes[:12].reshape(3, 4), "b": sizes[12:]}
    selected = mask.largest_share(weights, percent / 100, scope)
    assert sum(counts(selected)) == mask.allocate(weights, percent / 100, scope).sum()
    signs = jax.tree.map(lambda w: w * rng.choice(np.float32([-1, 1]), w.shape), weights)
    equal(mask.largest_share(signs, percent / 100, scope), selected)
    scaled = jax.tree.map(lambda w: w * np.float32(2.0**exponent), weights)
    equal(mask.largest_share(scaled, percent / 100, scope), selected)
    order = rng.permutation(8)
    moved = mask.largest_share({**weights, "b": weights["b"][order]}, percent / 100, scope)
    equal(moved, {**selected, "b": selected["b"][order]})


@given(st.integers(0, 2**32 - 1), st.integers(1, 100), scopes)
@settings(max_examples=20)
def test_random_share_is_exact_and_blind_to_the_weights(seed, percent, scope):
    key = jax.random.key(seed)
    selected = mask.random_share(key, WEIGHTS, percent / 100, scope)
    assert sum(counts(selected)) == mask.allocate(WEIGHTS, percent / 100, scope).sum()
    others = jax.tree.map(jnp.zeros_like, WEIGHTS)
    equal(mask.random_share(key, others, percent / 100, scope), selected)


def test_jit_and_vmap_over_keys_equal_an_eager_loop():
    keys = jax.random.split(KEY, 3)
    batched = jax.jit(jax.vmap(lambda key: mask.random_share(key, WEIGHTS, 0.3)))(keys)
    for index, key in enumerate(keys):
        one = jax.tree.map(lambda leaf: leaf[index], batched)  # noqa: B023
        equal(one, mask.random_share(key, WEIGHTS, 0.3))
    largest = jax.jit(lambda weights: mask.largest_share(weights, 0.3))(WEIGHTS)
    equal(largest, mask.largest_share(WEIGHTS, 0.3))


def test_a_traced_share_compiles_once():
    both = chex.assert_max_traces(
        lambda share: (mask.random_share(KEY, WEIGHTS, share), mask.largest_share(WEIGHTS, share)),
        n=1,
    )
    compiled = jax.jit(both)
    for share in (0.1, 0.5, 1):
        equal(compiled(jnp.float32(share)), both(share))


def test_random_share_follows_key_and_path():
    big = {"w": jnp.ones(1000)}
    first = mask.random_share(KEY, big, 0.5)
    equal(mask.random_share(KEY, big, 0.5), first)
    other = mask.random_share(jax.random.key(3), big, 0.5)
    assert 400 < mask.measure.hamming(first, other) < 600
    more = mask.random_share(KEY, {"v": jnp.ones(7), **big}, 0.5)
    equal({"w": more["w"]}, first)


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

    def unselected(tree):
        return jax.tree.map(lambda chosen, leaf: leaf[~chosen], selected, tree)

    for _ in range(5):
        learned, moments, gradient = step(learned, moments)
        rest = unselected(gradient)
        equal(unselected(part.mask(learned)), jax.tree.map(jnp.ones_like, rest))
        equal(rest, jax.tree.map(jnp.zeros_like, rest))
    assert mask.measure.hamming(start, part.mask(learned)) > 0
    equal(unselected(learned), unselected(scores))


def test_selected_scores_are_masked_as_ever():
    tx = mask.threshold(init=mask.normal())
    scores = tx.init(KEY, WEIGHTS)
    everything = mask.selective(tx, jax.tree.map(lambda w: jnp.ones(w.shape, bool), WEIGHTS))
    equal(everything.init(KEY, WEIGHTS), scores)
    equal(everything.mask(scores), tx.mask(scores))
    equal(everything.apply(scores, WEIGHTS), tx.apply(scores, WEIGHTS))
    # one bool for a leaf
    part = mask.selective(tx, {"a": True, "b": {"c": False}, "hole": None})
    equal(part.mask(scores), {**tx.mask(scores), "b": {"c": jnp.ones(10)}})


@given(npst.arrays(bool, 10), npst.arrays(np.float32, 10, elements=st.integers(-3, 3)))
@settings(max_examples=20)
def test_a_selection_is_where_of_the_masks(chosen, scores):
    scores, weights = {"w": scores}, {"w": np.arange(10, dtype=np.float32)}
    for tx in (mask.threshold(1, rescale=False), mask.sign(1)):
        part = mask.selective(tx, {"w": chosen})
        expected = np.where(chosen, tx.mask(scores)["w"], np.float32(1))
        equal(part.mask(scores), {"w": expected})
        equal(part.apply(scores, weights), {"w": expected * weights["w"]})


def test_vmap_over_selections_equals_a_loop():
    tx = mask.threshold()
    rng = np.random.default_rng(0)
    selected, scores = rng.random((2, 10)) < 0.5, rng.normal(size=(2, 10)).astype(np.float32)

    def masks(chosen, s):
        return mask.selective(tx, {"w": chosen}).mask({"w": s})

    batched = jax.vmap(masks)(selected, scores)["w"]
    equal(batched, jnp.stack([masks(*pair)["w"] for pair in zip(selected, scores)]))


def test_selected_may_be_traced():
    tx = mask.threshold(init=mask.normal())
    scores = tx.init(KEY, WEIGHTS)
    selected = mask.largest_share(WEIGHTS, 0.2)
    run = jax.jit(
        chex.assert_max_traces(lambda chosen, s: mask.selective(tx, chosen).apply(s, WEIGHTS), n=1)
    )
    for chosen in (selected, mask.largest_share(WEIGHTS, 0.7)):
        expected = mask.selective(tx, chosen).apply(scores, WEIGHTS)
        chex.assert_trees_all_close(run(chosen, scores), expected, rtol=1e-6)


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
