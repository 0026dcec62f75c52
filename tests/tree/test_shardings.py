"""Where leaves go on a mesh: properties of the layout, by size and by rules."""

import math

import jax
import jax.numpy as jnp
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax.sharding import AbstractMesh
from jax.sharding import PartitionSpec as P

from jaxmask import tree
from jaxmask.errors import InputError

MESH = AbstractMesh((2, 4), ("data", "model"))
SHAPES = st.lists(st.integers(1, 12), max_size=4)


def leaf(*shape):
    return jax.ShapeDtypeStruct(shape, jnp.float32)


@given(
    st.dictionaries(st.sampled_from("abcd"), SHAPES, max_size=4),
    st.integers(0, 300),
    st.sampled_from(["model", "data", ("data", "model")]),
)
def test_large_leaves_are_split_evenly_and_all_others_whole(shapes, least, axis):
    w = {name: leaf(*shape) for name, shape in shapes.items()}
    parts = math.prod(MESH.shape[name] for name in ([axis] if isinstance(axis, str) else axis))
    for name, at in tree.shardings(w, MESH, axis=axis, least=least).items():
        shape = shapes[name]
        longest = max((length for length in shape if length % parts == 0), default=0)
        split = math.prod(shape) >= least and longest
        part = at.shard_shape(tuple(shape))
        assert math.prod(part) * (parts if split else 1) == math.prod(shape)
        if split:
            (changed,) = [old for old, new in zip(shape, part) if old != new] or [longest]
            assert changed == longest


def test_the_first_rule_that_matches_the_whole_path_wins_and_holes_stay():
    w = {"a": {"kernel": leaf(8, 8), "bias": leaf(8)}, "b": {"kernel": leaf(8, 8)}, "hole": None}
    rules = [("a/kernel", P(None, "model")), (".*/kernel", P("data")), ("b/.*", P())]
    found = tree.shardings(w, MESH, rules, least=1)
    assert found["hole"] is None
    specs = {path: at.spec for path, at in tree.named_leaves(found).items()}
    assert specs == {"a/kernel": P(None, "model"), "a/bias": P("model"), "b/kernel": P("data")}


def test_scores_and_moments_are_laid_out_as_their_weights():
    w = {"a": leaf(64, 300), "b": leaf(3, 3)}
    at = tree.shardings(w, MESH)
    assert at["a"].spec == P(None, "model")
    assert (
        jax.tree.map(lambda x: x.spec, tree.shardings((w, w), MESH))
        == ({"a": P(None, "model"), "b": P()},) * 2
    )


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"rules": [("c/.*", P())]}, "'c/.*' matches no path"),
        ({"rules": [("a", P("model"))]}, "'a' of shape (6, 4)"),
        ({"axis": "expert"}, "no axis 'expert'; its axes are data, model"),
    ],
)
def test_what_does_not_fit_is_refused(given, message):
    with pytest.raises(InputError) as error:
        tree.shardings({"a": leaf(6, 4)}, MESH, **given)
    assert message in str(error.value)
