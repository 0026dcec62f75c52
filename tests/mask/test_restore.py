"""Stored masks put back onto the weights that they were learned over."""

import chex
import containers
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxmask import mask, maskfile, tree
from jaxmask.errors import InputError

WEIGHTS = {"a": {"kernel": jnp.arange(1.0, 13.0).reshape(3, 4)}, "b": jnp.array([3.0, 5.0])}
KEPT = np.random.default_rng(0).random((3, 4)) < 0.5
KERNEL = np.asarray(WEIGHTS["a"]["kernel"])


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int32, np.float32])
@pytest.mark.parametrize(("put", "alpha"), [(mask.rescaled, KEPT.mean() ** 0.5),
                                            (mask.unscaled, 1.0)])  # fmt: skip
def test_masks_of_any_dtype(dtype, put, alpha):
    found = mask.restore(WEIGHTS, {"a": {"kernel": KEPT.astype(dtype)}}, put)
    expected = {"a": {"kernel": KERNEL * KEPT / alpha}, "b": WEIGHTS["b"]}
    chex.assert_trees_all_close(found, expected, rtol=1e-6)


def test_signs_are_put_on_without_rescaling_and_else_refused():
    signs = {"a": {"kernel": np.where(KEPT, 1, -1).astype(np.int8)}}
    found = mask.restore(WEIGHTS, signs, mask.unscaled)
    chex.assert_trees_all_equal(found["a"]["kernel"], KERNEL * signs["a"]["kernel"])
    with pytest.raises(InputError, match=r"mask\.unscaled"):
        mask.restore(WEIGHTS, signs)


@given(st.sampled_from(["float16", "bfloat16", "float32"]), st.integers(0, 2**12 - 1))
def test_it_is_what_the_transform_applied(dtype, bits):
    """Bit for bit, whatever the mask, also one that is all zero."""
    kept = np.array([bits >> index & 1 for index in range(12)]).reshape(3, 4)
    weights = {"kernel": jnp.asarray(KERNEL, dtype)}
    scores = {"kernel": jnp.asarray(2.0 * kept - 1.0)}
    for transform in (mask.threshold(), mask.threshold(rescale=False), mask.sign()):
        stored = jax.tree.map(np.asarray, transform.mask(scores))
        found = mask.restore(weights, stored, transform.put)
        chex.assert_trees_all_equal(found, transform.apply(scores, weights))
        chex.assert_trees_all_equal_dtypes(found, weights)


def stored_masks(folder, kind):
    """Masks of both kernels, chosen in the kind's own containers, from a file; and as arrays."""
    first, second = kind.kernels
    rules = [(f"{first}|{second}", "mask")]
    own = tree.partition(kind.make(), tree.label(kind.make(), rules))["mask"]
    maskfile.save(folder / "task.mask", mask.keep_top(mask.magnitude()(None, own), 0.6))
    found = maskfile.load(folder / "task.mask")
    bits = [tree.named_leaves(found)[path] for path in kind.kernels]
    return found, [containers.kernel(kind, each) for each in bits]


@pytest.mark.parametrize("name", containers.KINDS)
def test_a_stored_mask_is_put_back_on_the_tree_that_a_library_made(name, tmp_path):
    """The result is the user's own tree, and the library applies it."""
    kind = containers.KINDS[name]
    weights = kind.make()
    masks, (body, head) = stored_masks(tmp_path, kind)
    assert 0 < body.sum() < body.size
    assert 0 < head.sum() < head.size
    pruned = containers.BODY * body, containers.HEAD * head
    alpha = [np.sqrt(each.mean()) for each in (body, head)]
    for found, wanted in (
        (mask.pruned(masks, weights), pruned),
        (mask.restore(weights, masks, mask.unscaled), pruned),
        (mask.restore(weights, masks), [part / each for part, each in zip(pruned, alpha)]),
    ):
        assert jax.tree.structure(found) == jax.tree.structure(weights)
        outputs = kind.apply(found, containers.X)
        np.testing.assert_allclose(outputs, containers.outputs(*wanted), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", containers.KINDS)
def test_masks_come_from_a_file_into_the_own_containers(name, tmp_path):
    kind = containers.KINDS[name]
    masks, _ = stored_masks(tmp_path, kind)
    weights = kind.make()
    own = tree.matched(weights, masks)
    assert type(own) is type(weights)
    chex.assert_trees_all_equal_structs(maskfile.load(tmp_path / "task.mask", like=own), own)
    chex.assert_trees_all_equal(tree.nested(tree.named_leaves(own)), masks)
    # into one part of a partitioned tree, whose other leaves are holes
    part = jax.tree.map(lambda m, w: None if m is None else w, own, weights, is_leaf=is_hole)
    loaded = maskfile.load(tmp_path / "task.mask", like=part)
    assert jax.tree.structure(loaded) == jax.tree.structure(part)
    for put in (mask.rescaled, mask.unscaled, mask.pruned):
        under = put(masks, part)
        assert jax.tree.structure(under) == jax.tree.structure(part)
        chex.assert_trees_all_equal(under, put(loaded, part))


def is_hole(node):
    return node is None


@pytest.mark.parametrize("kinds", [("partitioned", "dict"), ("dict", "logically partitioned"),
                                   ("nnx state", "partitioned"), ("frozen dict", "nnx module"),
                                   ("a box of one's own", "nnx state")])  # fmt: skip
def test_a_mask_of_one_library_is_put_on_the_network_of_another(kinds, tmp_path):
    learned, used = (containers.KINDS[kind] for kind in kinds)
    masks, (body, head) = stored_masks(tmp_path, learned)
    found = used.apply(mask.pruned(masks, used.make()), containers.X)
    wanted = containers.outputs(containers.BODY * body, containers.HEAD * head)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


def test_what_a_box_says_of_its_weights_stays():
    made = containers.KINDS["partitioned"].make()
    found = mask.restore(made, {"body": {"kernel": np.ones((3, 5), bool)}})
    assert found["body"]["kernel"].names == ("in", "out")
    assert found["head"]["kernel"] == made["head"]["kernel"]


def test_a_put_that_returns_other_containers():
    weights = containers.KINDS["nnx state"].make()

    def put(masks, weights):
        return tree.nested(tree.named_leaves(mask.unscaled(masks, weights)))

    masks = {"body": {"kernel": np.zeros((3, 5), bool)}}
    found = mask.restore(weights, masks, put)
    chex.assert_trees_all_equal_structs(found, weights)
    assert not found["body"]["kernel"][...].any()


def test_jit_gives_what_no_jit_gives():
    masks = {"a": {"kernel": KEPT}}
    jitted = jax.jit(lambda weights, masks: mask.restore(weights, masks))
    chex.assert_trees_all_close(jitted(WEIGHTS, masks), mask.restore(WEIGHTS, masks), rtol=1e-6)


@pytest.mark.parametrize(("masks", "message"), [({"c": KEPT}, "no 'c'"), ({"b": KEPT}, "shape")])
def test_what_belongs_to_another_network_is_refused(masks, message):
    with pytest.raises(InputError, match=message):
        mask.restore(WEIGHTS, masks)
