"""Labels of leaves by rules for their paths."""

import re

import chex
import jax
import jax.numpy as jnp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from library_trees import drawn_labels, linen, plain, trees

from jaxmask import tree
from jaxmask.errors import InputError


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


def test_shapes_can_be_labeled_without_arrays():
    shapes = jax.eval_shape(linen)
    rules = [(".*/kernel", "mask")]
    assert tree.label(shapes, rules) == tree.label(linen(), rules)


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
