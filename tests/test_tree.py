"""Labels, parts and paths of Linen, NNX, Equinox and plain trees."""

import collections
import math
import re

import chex
import equinox as eqx
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from flax.core import freeze
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from jaxmask import tree
from jaxmask.errors import InputError


class LinenNet(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.LayerNorm(name="norm")(nn.Dense(4, name="body")(x)))
        return nn.Dense(2, name="value")(x)


class NNXNet(nnx.Module):
    def __init__(self, rngs):
        self.body = nnx.Linear(3, 4, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)
        self.blocks = nnx.List([nnx.Linear(4, 4, rngs=rngs)])
        self.value = nnx.Linear(4, 2, rngs=rngs)


class Scale(eqx.Module):
    value: jax.Array


def linen():
    return LinenNet().init(jax.random.key(0), jnp.ones((1, 3)))["params"]


def nnx_state():
    return nnx.state(NNXNet(nnx.Rngs(0)))


def equinox_module():
    mlp = eqx.nn.MLP(3, 2, 4, 1, key=jax.random.key(0))
    return {"mlp": mlp, "scale": Scale(jnp.ones(2)), "dropout": eqx.nn.Dropout(0.5)}


def plain():
    return {
        "list": [jnp.ones(2), (np.zeros((2, 2), np.float32), None)],
        "counter": jnp.zeros((), jnp.int32),
        "key": jax.random.key(1),
        "function": jnp.tanh,
        "bf16": jnp.ones(3, jnp.bfloat16),
        "scalar": jnp.float32(1.0),
        "number": 0.5,
        "empty": {},
    }


TREES = {
    "linen": (linen, [("value/.*", "train"), (".*/kernel", "mask")]),
    "frozen dict": (lambda: freeze(linen()), [("value/.*", "train"), (".*/kernel", "mask")]),
    "nnx": (nnx_state, [("value/.*", "train"), (".*/kernel", "mask")]),
    "nnx module": (lambda: NNXNet(nnx.Rngs(0)), [("value/.*", "train"), (".*", "mask")]),
    "equinox": (equinox_module, [(".*bias|scale.*", "train"), (".*", "mask")]),
    "plain": (plain, [("list/0", "train"), (".*", "mask")]),
}


def assert_same(a, b):
    """Not only equal: the same objects, in the same containers."""
    chex.assert_trees_all_equal_structs(a, b)
    assert all(x is y for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b)))


@pytest.mark.parametrize("name", TREES)
def test_combine_is_the_exact_inverse_of_partition(name):
    make, rules = TREES[name]
    original = make()
    labels = tree.label(original, rules)
    parts = tree.partition(original, labels)
    assert list(parts) == ["mask", "train", "freeze"]
    assert_same(tree.combine(*parts.values()), original)
    assert_same(tree.combine(*reversed(parts.values())), original)
    assert sum(len(jax.tree.leaves(part)) for part in parts.values()) == len(
        jax.tree.leaves(original)
    )
    assert jax.tree.leaves(parts["mask"])
    assert jax.tree.leaves(parts["train"])
    # labels, too, are an ordinary tree of the same structure
    assert tree.paths(labels) == tree.paths(original)


def test_paths_of_each_library():
    assert tree.paths(linen()) == [
        *["body/bias", "body/kernel", "norm/bias", "norm/scale", "value/bias", "value/kernel"]
    ]
    assert tree.paths(nnx_state()) == [
        *["blocks/0/bias", "blocks/0/kernel", "body/bias", "body/kernel"],
        *["dropout/rngs/count", "dropout/rngs/key", "value/bias", "value/kernel"],
    ]
    _, params, _ = nnx.split(NNXNet(nnx.Rngs(0)), nnx.Param, ...)
    assert tree.paths(params) == tree.paths(nnx.to_pure_dict(params))
    assert "scale/value" in tree.paths(equinox_module())
    assert "mlp/layers/0/weight" in tree.paths(equinox_module())
    assert tree.paths({"value": jnp.ones(1)}) == ["value"]
    assert tree.paths(jnp.ones(1)) == [""]


def test_named_leaves_are_in_the_order_of_jax():
    for make, _ in TREES.values():
        original = make()
        leaves = tree.named_leaves(original)
        assert_same([*leaves.values()], jax.tree.leaves(original))
        assert list(leaves) == tree.paths(original)


def test_first_matching_rule_wins_and_matches_the_whole_path():
    params = {"a": {"kernel": jnp.ones(1)}, "b": {"kernel": jnp.ones(1), "bias": jnp.ones(1)}}
    labels = tree.label(params, [("a/.*", "train"), (".*/kernel", "mask")])
    assert labels == {"a": {"kernel": "train"}, "b": {"kernel": "mask", "bias": "freeze"}}
    assert tree.label(params, [], default="mask")["b"]["bias"] == "mask"
    for part in ("kernel", "a/ker"):
        with pytest.raises(InputError, match="matches no path"):
            tree.label(params, [(part, "mask")])


def test_leaves_that_are_not_floating_point_are_always_frozen():
    labels = tree.label(plain(), [("list/0", "train"), (".*", "mask")], default="mask")
    assert labels["counter"] == labels["key"] == labels["function"] == "freeze"
    assert labels["number"] == "freeze"
    assert labels["bf16"] == labels["scalar"] == labels["list"][1][0] == "mask"
    assert tree.label(plain(), [], default="train")["counter"] == "freeze"


def test_a_rule_that_only_frozen_leaves_match():
    with pytest.raises(InputError, match=r"rule 0 .*counter.* always frozen"):
        tree.label(plain(), [("counter|key", "mask")])
    assert tree.label(plain(), [("counter|key", "freeze")])["counter"] == "freeze"


@pytest.mark.parametrize(
    ("rules", "default", "words"),
    [
        ([("body/kernal", "mask")], "freeze", r"rule 0 .*body/kernal.*nearest are 'body/kernel'"),
        ([(".*", "mask"), ("value/.*", "train")], "freeze", r"rule 1 .*never wins.*rule 0"),
        ([(".*", "masks")], "freeze", r"rule 0 .*'masks'.*'mask', 'train', 'freeze'"),
        ([], "frozen", "default is 'frozen'"),
        ([("(", "mask")], "freeze", r"rule 0 .*not a regular expression"),
        (["value/.*"], "freeze", "rule 0"),
        ([("a", "mask", 1)], "freeze", "rule 0"),
        ([(3, "mask")], "freeze", "rule 0"),
    ],
)
def test_a_wrong_rule_is_an_error_of_one_line(rules, default, words):
    with pytest.raises(InputError, match=words) as error:
        tree.label(linen(), rules, default)
    assert "\n" not in str(error.value)


def test_two_leaves_with_one_path():
    with pytest.raises(InputError, match="'a/b'"):
        tree.paths({"a": {"b": jnp.ones(1)}, "a/b": jnp.ones(1)})


def test_wrong_labels():
    with pytest.raises(InputError, match="structure"):
        tree.partition({"a": 1.0}, {"b": "mask"})
    with pytest.raises(InputError, match=r"'a'.*'mark'"):
        tree.partition({"a": 1.0}, {"a": "mark"})
    with pytest.raises(InputError, match="'a'"):
        tree.partition({"a": 1.0}, {"a": jnp.ones(2)})


def test_wrong_parts():
    with pytest.raises(InputError, match="no parts"):
        tree.combine()
    with pytest.raises(InputError, match="'a' is present in parts 0 and 2"):
        tree.combine({"a": 1.0}, {"a": None}, {"a": 2.0})
    with pytest.raises(InputError, match=r"part 1.*no 'a'; unexpected 'b'"):
        tree.combine({"a": 1.0}, {"b": None})
    with pytest.raises(InputError, match="structure"):
        tree.combine({"a": 1.0}, None)
    with pytest.raises(InputError, match="structure"):
        tree.combine({"a": [None]}, {"a": (1.0,)})


def test_labels_partition_another_tree_of_the_structure():
    params = linen()
    labels = tree.label(params, [(".*/kernel", "mask")])
    masks = jax.tree.map(lambda w: w > 0, params)
    parts = tree.partition(masks, labels)
    assert tree.paths(parts["mask"]) == ["body/kernel", "value/kernel"]


def test_through_jit_grad_and_vmap():
    params = linen()
    labels = tree.label(params, [("value/.*", "train"), (".*/kernel", "mask")])
    parts = tree.partition(params, labels)

    @jax.jit
    def loss(part, rest, x):
        assert tree.label(params, [(".*/kernel", "mask")])  # host work, under jit too
        whole = tree.combine(part, *rest)
        again = tree.partition(whole, labels)
        return jnp.sum(LinenNet().apply({"params": tree.combine(*again.values())}, x) ** 2)

    x, rest = jnp.ones((5, 3)), (parts["train"], parts["freeze"])
    gradient = jax.grad(loss)(parts["mask"], rest, x)
    whole = jax.grad(lambda p: jnp.sum(LinenNet().apply({"params": p}, x) ** 2))(params)
    expected = tree.partition(whole, labels)["mask"]
    chex.assert_trees_all_equal_shapes_and_dtypes(gradient, expected)
    chex.assert_trees_all_close(gradient, expected, rtol=1e-6)
    batched = jax.vmap(loss, (None, None, 0))(parts["mask"], rest, x[:, None])
    each = jnp.stack([loss(parts["mask"], rest, row) for row in x[:, None]])
    chex.assert_trees_all_close(batched, each, rtol=1e-6)


def test_shapes_can_be_labeled_without_arrays():
    shapes = jax.eval_shape(linen)
    rules = [(".*/kernel", "mask")]
    assert tree.label(shapes, rules) == tree.label(linen(), rules)


def test_align_matches_by_path_and_checks_shapes():
    params = linen()
    state = nnx.state(nnx.Linear(3, 4, rngs=nnx.Rngs(0)))
    assert_same(tree.align(state, nnx.to_pure_dict(state), "x"), jax.tree.leaves(state))
    assert_same(tree.align(params, freeze(params), "x"), jax.tree.leaves(params))
    assert_same(tree.align(freeze(params), params, "x"), jax.tree.leaves(params))
    with pytest.raises(InputError, match=r"scores: .*no 'body/bias'"):
        tree.align(params, {}, "scores")
    with pytest.raises(InputError, match=r"scores: 'a' has shape \(2,\), expected \(3,\)"):
        tree.align({"a": jnp.ones(3)}, {"a": jnp.ones(2)}, "scores")


def test_size():
    assert tree.size({"a": jnp.ones((2, 3)), "b": None, "c": jnp.ones(())}) == 7
    assert tree.size({}) == tree.size({"none": jnp.ones((0, 3))}) == 0


@pytest.mark.parametrize(
    ("dtype", "floating"),
    [
        *((kind, True) for kind in ("float8_e4m3fn", "bfloat16", "float16", "float32")),
        *((kind, False) for kind in ("int32", "uint8", "bool", "complex64")),
    ],
)
def test_floating_point_is_decided_by_the_dtype(dtype, floating):
    kind = jnp.dtype(dtype)
    for leaf in (jnp.zeros(2, kind), np.zeros((), kind), jax.ShapeDtypeStruct((3,), kind)):
        assert tree.is_floating(leaf) is floating
    told = []
    jax.jit(lambda leaf: told.append(tree.is_floating(leaf)))(jnp.zeros(2, kind))
    assert told == [floating]
    for leaf in (1.0, "float32", None, jnp.tanh, jax.random.key(0)):
        assert not tree.is_floating(leaf)


names = st.text("ab", min_size=1, max_size=3)  # many share a prefix


def nested(leaves):
    return st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
        max_leaves=12,
    )


trees = nested(st.none() | st.floats(-1, 1).map(np.float32) | st.integers(0, 9))
shapes = npst.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3)
array_trees = nested(st.none() | shapes.map(lambda shape: np.zeros(shape, np.float32)))


def drawn_labels(data, original):
    structure = jax.tree.structure(original)
    count = structure.num_leaves
    chosen = data.draw(st.lists(st.sampled_from(tree.LABELS), min_size=count, max_size=count))
    return jax.tree.unflatten(structure, chosen)


@given(trees, st.data())
@settings(max_examples=50)
def test_any_partition_combines_to_the_original(original, data):
    parts = tree.partition(original, drawn_labels(data, original))
    assert_same(tree.combine(*data.draw(st.permutations([*parts.values()]))), original)


@given(trees, st.data())
@settings(max_examples=50)
def test_a_rule_for_every_path_gives_every_floating_leaf_its_label(original, data):
    wanted = drawn_labels(data, original)
    leaves, names = tree.named_leaves(original), jax.tree.leaves(wanted)
    floating = [tree.is_floating(leaf) for leaf in leaves.values()]
    # a rule for a leaf that is always frozen must say so
    rules = [
        (re.escape(path), name if kind else "freeze")
        for path, name, kind in zip(leaves, names, floating)
    ]
    labels = tree.label(original, data.draw(st.permutations(rules)))
    chex.assert_trees_all_equal_structs(labels, original)
    expected = [name if kind else "freeze" for name, kind in zip(names, floating)]
    assert jax.tree.leaves(labels) == expected
    parts = tree.partition(original, labels)
    for part, tree_with_holes in parts.items():
        assert tree.paths(tree_with_holes) == [p for p, n in zip(leaves, expected) if n == part]


@given(array_trees, st.data())
@settings(max_examples=50)
def test_the_sizes_of_the_parts_add_up_to_the_size(original, data):
    parts = tree.partition(original, drawn_labels(data, original))
    whole = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(original))
    assert tree.size(original) == sum(map(tree.size, parts.values())) == whole


@given(st.dictionaries(names, st.integers(0, 9), max_size=5))
@settings(max_examples=50)
def test_align_finds_leaves_by_path_whatever_their_order(original):
    # a named tuple has its fields in their own order, a dict its keys sorted
    fields = sorted(original, reverse=True)
    backwards = collections.namedtuple("Backwards", fields)(**original)
    assert tree.align(original, backwards, "x") == jax.tree.leaves(original)
    assert tree.align(backwards, original, "x") == [original[name] for name in fields]
