"""Labels, parts and paths of Linen, NNX, Equinox and plain trees."""

import equinox as eqx
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from flax.core import freeze
from hypothesis import given
from hypothesis import strategies as st

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
    assert jax.tree.structure(a) == jax.tree.structure(b)
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
        leaves = tree.named_leaves(make())
        same = zip(leaves.values(), jax.tree.leaves(make()))
        assert all(np.shape(a) == np.shape(b) for a, b in same)
        assert list(leaves) == tree.paths(make())


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
    assert jax.tree.structure(gradient) == jax.tree.structure(parts["mask"])
    whole = jax.grad(lambda p: jnp.sum(LinenNet().apply({"params": p}, x) ** 2))(params)
    np.testing.assert_allclose(gradient["body"]["kernel"], whole["body"]["kernel"], rtol=1e-6)
    assert jax.vmap(loss, (None, None, 0))(parts["mask"], rest, x[:, None]).shape == (5,)


def test_shapes_can_be_labeled_without_arrays():
    shapes = jax.eval_shape(linen)
    rules = [(".*/kernel", "mask")]
    assert tree.label(shapes, rules) == tree.label(linen(), rules)


def test_align_matches_by_path_and_checks_shapes():
    params = linen()
    state = nnx.state(nnx.Linear(3, 4, rngs=nnx.Rngs(0)))
    plain_dict = nnx.to_pure_dict(state)
    assert all(a is b for a, b in zip(tree.align(state, plain_dict, "x"), jax.tree.leaves(state)))
    assert tree.align(params, freeze(params), "x")
    with pytest.raises(InputError, match=r"scores: .*no 'body/bias'"):
        tree.align(params, {}, "scores")
    with pytest.raises(InputError, match=r"scores: 'a' has shape \(2,\), expected \(3,\)"):
        tree.align({"a": jnp.ones(3)}, {"a": jnp.ones(2)}, "scores")


def test_size():
    assert tree.size({"a": jnp.ones((2, 3)), "b": None, "c": jnp.ones(())}) == 7


names = st.text("abc", min_size=1, max_size=2)
trees = st.recursive(
    st.none() | st.floats(-1, 1).map(np.float32) | st.integers(0, 9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=12,
)


@given(trees, st.data())
def test_any_partition_combines_to_the_original(original, data):
    structure = jax.tree.structure(original)
    count = structure.num_leaves
    chosen = data.draw(st.lists(st.sampled_from(tree.LABELS), min_size=count, max_size=count))
    parts = tree.partition(original, jax.tree.unflatten(structure, chosen))
    assert_same(tree.combine(*parts.values()), original)
