"""Stacked layers, heads and other layouts: as the same layers apart, or as their matrices."""

import functools
import math

import chex
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxmask import mask, tree
from jaxmask.errors import InputError

KEY = jax.random.key(0)
quick = settings(max_examples=15)
seeds = st.integers(0, 2**32 - 1)
STACK = [("w", "layers in out"), ("v", "in layers out")]


def stacked(seed, layers=4):
    """One tree of two stacks, along the first and the second axis, and a tree of their layers."""
    rng = np.random.default_rng(seed)
    w = rng.permutation(layers * 15).reshape(layers, 5, 3).astype(np.float32) - 20
    v = rng.permutation(layers * 12).reshape(6, layers, 2).astype(np.float32) - 20
    apart = {"w": list(w), "v": list(np.moveaxis(v, 1, 0)), "x": np.float32(rng.normal(size=7))}
    return {"w": jnp.asarray(w), "v": jnp.asarray(v), "x": jnp.asarray(apart["x"])}, apart


def together(apart):
    """The inverse of `stacked`'s second tree."""
    return {"w": jnp.stack(apart["w"]), "v": jnp.stack(apart["v"], 1), "x": apart["x"]}


@given(seeds, st.integers(1, 99), st.sampled_from(["layer", "erk"]))
@quick
def test_stacked_layers_are_chosen_from_apart(seed, percent, scope):
    stack, apart = stacked(seed)
    found = mask.keep_top(stack, percent / 100, scope, axes=STACK)
    chex.assert_trees_all_equal(found, together(mask.keep_top(apart, percent / 100, scope)))
    counts = mask.allocate(stack, percent / 100, scope, axes=STACK)
    assert sorted(counts) == sorted(mask.allocate(apart, percent / 100, scope))


@pytest.mark.parametrize(("seed", "mu"), [(0, 0.0), (1, -19.5), (2, 100.0)])
def test_each_of_stacked_layers_is_rescaled_by_its_own_density(seed, mu):
    stack, apart = stacked(seed)
    weights, weights_apart = stacked(seed + 1)

    def masked(scores, weights, axes):
        return mask.threshold(mu, axes=axes).apply(scores, weights)

    found = masked(stack, weights, STACK)
    expected = together(masked(jax.tree.map(jnp.asarray, apart), weights_apart, ()))
    chex.assert_trees_all_close(found, expected, rtol=1e-6)

    def total(scores, weights, axes):
        return sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(masked(scores, weights, axes)))

    gradient = jax.grad(total)(stack, weights, STACK)
    one_by_one = jax.grad(total)(jax.tree.map(jnp.asarray, apart), weights_apart, ())
    chex.assert_trees_all_close(gradient, together(one_by_one), rtol=1e-5, atol=1e-3)
    transform = mask.threshold(mu, axes=STACK)
    chex.assert_trees_all_equal(transform.put(transform.mask(stack), weights), found)


def test_top_k_and_shares_of_stacked_layers():
    stack, apart = stacked(0)
    chex.assert_trees_all_equal(
        mask.top_k(0.4, axes=STACK).mask(stack),
        together(mask.top_k(0.4).mask(jax.tree.map(jnp.asarray, apart))),
    )
    chex.assert_trees_all_equal(
        mask.largest_share(stack, 0.3, axes=STACK), together(mask.largest_share(apart, 0.3))
    )
    shared = mask.random_share(KEY, stack, 0.2, axes=STACK)
    assert shared["w"].sum((1, 2)).tolist() == [3] * 4


def test_shuffled_within_each_of_stacked_layers():
    stack, _ = stacked(0)
    given_scores = lambda key, weights: stack  # noqa: E731
    found = mask.shuffled(given_scores, axes=STACK)(KEY, stack)
    for leaf, front in (("w", (0, 1, 2)), ("v", (1, 0, 2))):
        before, after = (np.transpose(each[leaf], front).reshape(4, -1) for each in (stack, found))
        assert (before != after).any()
        np.testing.assert_array_equal(np.sort(before, axis=1), np.sort(after, axis=1))


def test_measures_name_each_of_stacked_layers():
    on = {"w": jnp.ones((3, 2, 2), bool).at[1].set(False), "x": jnp.zeros(2)}
    axes = [("w", "layers in out")]
    assert mask.measure.empty_leaves(on, axes) == ["w[1]", "x"]
    assert mask.measure.density_by_leaf(on, axes) == {
        "w[0]": 1.0,
        "w[1]": 0.0,
        "w[2]": 1.0,
        "x": 0.0,
    }
    guessed = {"Dense_0": {"kernel": on["w"]}}
    assert mask.measure.empty_leaves(guessed) == ["Dense_0/kernel[1]"]
    either = {"mlp": {"kernel": on["w"]}}  # or a window: nothing is said of layers
    assert list(mask.measure.density_by_leaf(either)) == ["mlp/kernel"]


def test_a_stack_of_linen_keeps_as_much_of_every_layer():
    class Block(nn.Module):
        @nn.compact
        def __call__(self, x, _):
            return nn.tanh(nn.Dense(8)(x)), None

    stack = nn.scan(Block, variable_axes={"params": 0}, split_rngs={"params": True}, length=6)()
    params = stack.init(KEY, jnp.ones((2, 8)), None)["params"]
    scores = jax.tree.map(lambda w: jnp.abs(w) * (1 + jnp.arange(6.0)).reshape(6, 1, 1), params)
    kernels = tree.partition(scores, tree.label(scores, [(".*kernel", "mask")]))["mask"]
    kept = tree.named_leaves(mask.keep_top(kernels, 0.25, "layer"))["Dense_0/kernel"]
    assert kept.sum((1, 2)).tolist() == [16] * 6


# Heads, and outputs that come first: the same choice as of the layer's matrix [in, out].


def matrix_cases():
    """A leaf, its path, the words that describe it, and how its matrix is made."""
    return [
        ("query/kernel", (8, 3, 4), "in out out", lambda x: x.reshape(8, 12)),
        ("out/kernel", (2, 8, 8), "in in out", lambda x: x.reshape(16, 8)),
        ("out/kernel", (4, 2, 8), "in in out", lambda x: x.reshape(8, 8)),  # groups over heads
        ("fc/weight", (12, 8), "out in", lambda x: x.T),
        ("q_einsum/w", (3, 8, 4), "out in out", lambda x: np.moveaxis(x, 1, 0).reshape(8, 12)),
    ]


@pytest.mark.parametrize("case", range(len(matrix_cases())))
@pytest.mark.parametrize(
    "keep",
    [
        mask.keep_n_of_m,
        functools.partial(mask.keep_channels, density=0.25, ties="index"),
        functools.partial(mask.keep_blocks, density=0.5, block=(4, 2)),
        functools.partial(mask.keep_blocks, density=0.5, block=(8, 1), scope="layer"),
    ],
)
def test_units_are_those_of_the_matrix(case, keep):
    path, shape, words, matrix = matrix_cases()[case]
    scores = np.random.default_rng(case).permutation(math.prod(shape)).reshape(shape) / 8.0
    scores = scores.astype(np.float32)
    found = np.asarray(keep({path: jnp.asarray(scores)}, axes=[(path, words)])[path])
    expected = np.asarray(keep({"kernel": jnp.asarray(matrix(scores))})["kernel"])
    np.testing.assert_array_equal(matrix(found), expected)


def test_whole_heads_are_kept_if_their_size_is_called_a_window():
    scores = {"query/kernel": jnp.ones((8, 4, 3)) * jnp.array([1.0, 5.0, 2.0, 4.0])[:, None]}
    axes = [("query/kernel", "in out window")]
    kept = mask.keep_channels(scores, 0.5, axes=axes)["query/kernel"]
    assert kept.all((0, 2)).tolist() == [False, True, False, True]
    assert kept.sum() == 48


def test_channels_and_blocks_of_stacked_layers():
    stack, apart = stacked(3)
    for scope in ("global", "layer"):
        found = mask.keep_channels(stack, 0.5, scope=scope, axes=STACK)
        alone = mask.keep_channels(apart, 0.5, scope=scope)
        chex.assert_trees_all_equal(found, together(alone))
    wide = {"w": jnp.asarray(np.random.default_rng(0).permutation(96).reshape(3, 8, 4) / 8.0)}
    layers = {"w": [*wide["w"]]}
    found = mask.keep_blocks(wide, 0.5, (4, 4), "layer", axes=[("w", "layers in out")])["w"]
    np.testing.assert_array_equal(
        found, jnp.stack(mask.keep_blocks(layers, 0.5, (4, 4), "layer")["w"])
    )


# Equinox and NNX: by type


@pytest.mark.parametrize("keep", [mask.keep_n_of_m, lambda s: mask.keep_channels(s, 0.5)])
def test_equinox_has_its_outputs_first(keep):
    linear = eqx.nn.Linear(8, 12, use_bias=False, key=KEY)
    scores = jax.tree.map(jnp.abs, eqx.filter(linear, eqx.is_array))
    found = np.asarray(keep(scores).weight)
    np.testing.assert_array_equal(found.T, keep({"kernel": scores.weight.T})["kernel"])


def test_attention_of_nnx_is_two_of_four_along_its_features():
    made = nnx.MultiHeadAttention(num_heads=4, in_features=16, use_bias=False, rngs=nnx.Rngs(0))
    scores = jax.tree.map(jnp.abs, nnx.state(made, nnx.Param))
    found = tree.named_leaves(mask.keep_n_of_m(scores))
    for name in ("query", "key", "value"):
        assert (found[f"{name}/kernel"].reshape(4, 4, 16).sum(axis=1) == 2).all(), name
    assert (found["out/kernel"].reshape(4, 4, 16).sum(axis=1) == 2).all()


# Refusals


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (mask.kaiming_uniform(), "fan_in depends"),
        (lambda key, w: mask.keep_n_of_m(w), "form a group depends"),
        (lambda key, w: mask.keep_channels(w, 0.5), "form a unit depends"),
        (lambda key, w: mask.keep_blocks(w, 0.5), "form a unit depends"),
        (lambda key, w: mask.keep_top(w, 0.5, "layer"), "scope 'layer' depends"),
        (lambda key, w: mask.top_k(0.5, "erk").mask(w), "scope 'erk' depends"),
        (lambda key, w: mask.threshold().apply(w, w), "rescaling depends"),
        (lambda key, w: mask.shuffled(mask.magnitude())(key, w), "shuffled depends"),
        (lambda key, w: mask.random_share(key, w, 0.5), "scope 'layer' depends"),
    ],
)
def test_a_leaf_that_may_be_several_things_is_refused_by_path(call, words):
    either = {"proj": {"kernel": jnp.ones((4, 8, 12))}}
    with pytest.raises(InputError, match=f"'proj/kernel' of shape .*'layers in out'.*{words}"):
        call(KEY, either)
    mask.keep_top(either, 0.5)
    mask.threshold(rescale=False).apply(either, either)


def test_what_does_not_depend_on_the_reading_is_not_refused():
    either = {
        "blocks": {"conv": {"kernel": jnp.ones((2, 3, 8, 12))}}
    }  # of two axes, or stacked of one
    assert mask.measure.density(mask.keep_n_of_m(either)) == 0.5
    with pytest.raises(InputError, match="fan_in"):
        mask.kaiming_uniform()(KEY, either)


@pytest.mark.parametrize(
    ("axes", "words"),
    [
        ([("b", "in out")], r"'b' matches no path of \['a'\]"),
        ([("a", "in out")], r"'in out' for 'a' of shape \(2, 3, 4\)"),
        ([("a", "heads in out")], "'heads in out' for 'a'"),
        ({"a": 3}, "3 for 'a'"),
        ([("(", "in out")], r"give \(regular expression, words\)"),
        (["a"], "give .regular expression, words."),
    ],
)
def test_wrong_words(axes, words):
    with pytest.raises(InputError, match=words):
        mask.describe({"a": jnp.ones((2, 3, 4))}, axes)
