"""Paths of the leaves of Linen, NNX, Equinox and plain trees."""

import math
from typing import NamedTuple

import containers
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st
from library_trees import (
    TREES,
    NNXNet,
    array_trees,
    assert_same,
    drawn_labels,
    equinox_module,
    linen,
    nnx_state,
)

from jaxmask import tree
from jaxmask.errors import InputError


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


def test_two_leaves_with_one_path():
    with pytest.raises(InputError, match="'a/b'"):
        tree.paths({"a": {"b": jnp.ones(1)}, "a/b": jnp.ones(1)})


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


@given(array_trees, st.data())
@settings(max_examples=50)
def test_the_sizes_of_the_parts_add_up_to_the_size(original, data):
    parts = tree.partition(original, drawn_labels(data, original))
    whole = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(original))
    assert tree.size(original) == sum(map(tree.size, parts.values())) == whole


def test_the_value_of_a_box_is_left_out_and_that_of_any_other_node_is_not():
    kernels = ["body/bias", "body/kernel", "head/bias", "head/kernel"]
    boxed = ("partitioned", "logically partitioned", "a box of one's own", "boxes in boxes")
    for name in (*boxed, "dict", "frozen dict", "nnx state"):
        assert tree.paths(containers.KINDS[name].make()) == kernels, name
    box = nn.Partitioned(jnp.ones(2), ("in",))
    assert tree.paths(box) == [""]
    assert tree.paths([box, {"value": box}]) == ["0", "1/value"]
    assert tree.paths({"w": nn.Partitioned({"a": box, "value": 1.0}, ())}) == ["w/a", "w/value"]
    assert tree.paths(nnx.bridge.NNXMeta(nnx.Param, jnp.ones(1), {})) == [""]
    assert tree.paths(optax.ScaleByLBFGSState(*[None] * 5, jnp.ones(1))) == ["weights_memory"]

    class Scored(NamedTuple):
        value: jax.Array
        score: jax.Array

    assert tree.paths({"w": Scored(jnp.ones(1), jnp.ones(1))}) == ["w/value", "w/score"]


def test_rules_see_the_same_paths_in_a_box_as_without():
    rules = [("head/.*", "train"), (".*/kernel", "mask")]
    plain = tree.named_leaves(tree.label(containers.KINDS["dict"].make(), rules))
    for name in ("partitioned", "boxes in boxes", "nnx state", "frozen dict"):
        labels = tree.label(containers.KINDS[name].make(), rules)
        assert tree.named_leaves(labels) == plain
    with pytest.raises(InputError, match="matches no path"):
        tree.label(containers.KINDS["partitioned"].make(), [(".*/value", "mask")])


def test_a_leaf_beside_leaves_below_it_cannot_be_nested():
    for leaves in ({"a": 1.0, "a/b": 2.0}, {"a/b/c": 2.0, "a": 1.0, "d": 3.0}):
        with pytest.raises(InputError, match="'a' cannot be a leaf beside 'a/b"):
            tree.nested(leaves)
    assert tree.nested({"a": None, "a/b": 2.0}) == {"a": {"b": 2.0}}


@pytest.mark.parametrize(
    ("node", "same"),
    [
        ({"a": 1.0, "b": [2.0, 3.0]}, True),
        ({"a": 1.0, "b": (None, 3.0)}, True),
        ({"a": (), "b": {"0": 2.0, "1": 3.0}}, True),
        ({"a": 1.0, "b": optax.MaskedNode()}, True),
        ({"a": None, "b": None}, False),
        ({"a": 1.0}, False),
        ({"a": 1.0, "b": [2.0, 3.0], "c": 4.0}, False),
        ({"a": {"x": 1.0}, "b": [2.0, 3.0]}, False),
        (5.0, False),
    ],
)
def test_a_node_with_leaves_at_all_of_some_paths(node, same):
    assert tree.has_leaves_at(node, {"a", "b/0", "b/1"}) is same
