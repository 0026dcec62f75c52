"""Trees matched by path: parts, their inverse, and trees in other containers."""

import collections

import chex
import containers
import jax
import jax.numpy as jnp
import pytest
from flax import nnx
from flax.core import freeze
from hypothesis import given, settings
from hypothesis import strategies as st
from library_trees import TREES, LinenNet, assert_same, drawn_labels, linen, names, trees

from jaxmask import tree
from jaxmask.errors import InputError


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
    with pytest.raises(InputError, match=r"part 1.*unexpected 'a/1'"):
        tree.combine({"a": [None]}, {"a": (1.0, 2.0)})
    with pytest.raises(InputError, match=r"part 2.*unexpected 'c/d'"):
        tree.combine({"a": {"b": None}, "c": None}, {"a": None}, {"c": {"d": 1.0}})


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


@given(trees, st.data())
@settings(max_examples=50)
def test_any_partition_combines_to_the_original(original, data):
    parts = tree.partition(original, drawn_labels(data, original))
    assert_same(tree.combine(*data.draw(st.permutations([*parts.values()]))), original)


@given(st.dictionaries(names, st.integers(0, 9), max_size=5))
@settings(max_examples=50)
def test_align_finds_leaves_by_path_whatever_their_order(original):
    # a named tuple has its fields in their own order, a dict its keys sorted
    fields = sorted(original, reverse=True)
    backwards = collections.namedtuple("Backwards", fields)(**original)
    assert tree.align(original, backwards, "x") == jax.tree.leaves(original)
    assert tree.align(backwards, original, "x") == [original[name] for name in fields]


@pytest.mark.parametrize("name", containers.KINDS)
def test_every_function_of_two_trees_takes_plain_dicts_for_the_second(name):
    """What a library holds in its own containers comes back in them, matched by path."""
    kind = containers.KINDS[name]
    own = kind.make()
    leaves = {path: leaf for path, leaf in tree.named_leaves(own).items() if tree.is_floating(leaf)}
    labels = tree.label(own, list(zip(kind.kernels, ("mask", "train"))))
    plain_labels = tree.nested(tree.named_leaves(labels))
    parts, plain_parts = tree.partition(own, labels), tree.partition(own, plain_labels)
    for part in tree.LABELS:
        assert_same(parts[part], plain_parts[part])
    others = [tree.nested(tree.named_leaves(part)) for part in (parts["train"], parts["freeze"])]
    assert_same(tree.combine(parts["mask"], *others), own)
    assert_same(tree.combine(parts["mask"], *reversed(others)), own)

    doubled = {path: 2 * leaf for path, leaf in leaves.items()}
    for some in ([*doubled], kind.kernels[:1], []):
        given = {path: doubled[path] for path in some}
        # a nested dict, as in a file, and a flat one with whole paths for keys, as of Haiku
        for other in (tree.nested(given), given):
            found = tree.replaced(own, other)
            assert jax.tree.structure(found) == jax.tree.structure(own)
            found = tree.named_leaves(found)
            assert all(found[path] is given.get(path, leaf) for path, leaf in leaves.items())
            holed = tree.matched(own, other)
            assert type(holed) is type(own)
            assert_same([*tree.named_leaves(holed).values()],
                        [given[path] for path in leaves if path in given])  # fmt: skip


def test_a_hole_may_stand_for_a_whole_subtree():
    filled = tree.combine({"a": {"b": None, "c": [None, 2.0]}}, {"a": None}, {"a": {"b": 1.0}})
    assert filled == {"a": {"b": 1.0, "c": [None, 2.0]}}


def test_leaves_with_one_path_are_still_matched_in_trees_of_one_structure():
    twice = {"a": {"b": jnp.ones(1)}, "a/b": jnp.zeros(1)}
    assert_same(tree.replaced(twice, twice), twice)
    with pytest.raises(InputError, match="'a/b'"):
        tree.replaced(twice, {"a": {"b": jnp.ones(1)}})


def test_what_does_not_fit_is_named():
    own = containers.KINDS["partitioned"].make()
    for function in (tree.matched, tree.replaced):
        with pytest.raises(InputError, match=r"masks: there is no 'body/kernel/value'.*nearest"):
            function(own, {"body": {"kernel": {"value": own["body"]["kernel"].value}}}, "masks")
        with pytest.raises(InputError, match=r"masks: 'head/bias' has shape \(3,\).*\(2,\)"):
            function(own, {"head": {"bias": jnp.ones(3)}}, "masks")
        with pytest.raises(InputError, match="there is no 'a'; the nearest are none"):
            function({}, {"a": 1.0})


@given(trees, st.data())
@settings(max_examples=50)
def test_any_tree_is_rebuilt_from_plain_dicts(original, data):
    parts = tree.partition(original, drawn_labels(data, original))
    if "" in tree.paths(original):  # a bare leaf has no key
        return
    plain = {name: tree.nested(tree.named_leaves(part)) for name, part in parts.items()}
    assert_same(tree.combine(parts["mask"], plain["train"], plain["freeze"]), original)
    assert_same(tree.aligned(original, tree.nested(tree.named_leaves(original))), original)
    for name, part in parts.items():
        assert_same(tree.aligned(part, plain[name]), part)
        assert_same(tree.replaced(original, plain[name]), original)
