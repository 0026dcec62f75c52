"""Weights trained in place, and pruned ones that stay zero."""

import chex
import containers
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxmask import adapter, maskfile, tree
from jaxmask.adapter import Stored, weights
from jaxmask.errors import InputError

pytestmark = pytest.mark.usefixtures("quick_compilation")

PARAMS = {
    "fc": {"kernel": jnp.arange(1.0, 7.0).reshape(2, 3), "bias": jnp.array([1.0, 2.0, 3.0])},
    "head": {"kernel": jnp.ones((3, 2)), "bias": jnp.zeros(2)},
}
KEPT = {
    "fc": {"kernel": jnp.array([[True, False, True], [False, False, True]]), "bias": None},
    "head": {"kernel": None, "bias": None},
}


def test_by_default_everything_is_trained():
    learned, frozen = weights().init(None, PARAMS)
    chex.assert_trees_all_equal(learned, {"train": PARAMS})
    assert not jax.tree.leaves(frozen)


def test_rules_say_what_is_trained_and_the_rest_is_as_it_was():
    way = weights([("head/.*", "train"), ("(.*/)?bias", "train")])
    learned, frozen = way.init(None, PARAMS)
    assert set(tree.named_leaves(learned["train"])) == {"fc/bias", "head/kernel", "head/bias"}
    found = way.parameters(jax.tree.map(lambda leaf: leaf + 10, learned), frozen)
    wanted = jax.tree.map(lambda leaf: leaf + 10, PARAMS)
    wanted["fc"]["kernel"] = PARAMS["fc"]["kernel"]
    chex.assert_trees_all_equal(found, wanted)
    stored = way.store(learned, frozen)
    assert set(tree.named_leaves(stored.arrays["params"])) == {
        "fc/bias", "head/kernel", "head/bias"
    }  # fmt: skip
    assert not jax.tree.leaves(stored.masks)


@pytest.mark.parametrize("rules", [[(".*", "freeze")], [(".*", "mask")],
                                   [("fc/.*", "mask"), ("head/.*", "train")]])  # fmt: skip
def test_rules_that_train_nothing_or_mask_are_refused(rules):
    with pytest.raises(InputError, match="'train' or 'freeze'"):
        weights(rules).init(None, PARAMS)


@pytest.mark.parametrize(
    "optimizer", [optax.sgd(0.1, momentum=0.9), optax.adamw(0.1, weight_decay=0.1)]
)
def test_pruned_weights_are_zero_before_during_and_after(optimizer):
    way = weights(kept=KEPT)
    learned, frozen = way.init(None, PARAMS)
    state = optimizer.init(learned)
    off = ~np.asarray(KEPT["fc"]["kernel"])
    assert (np.asarray(learned["train"]["fc"]["kernel"])[off] == 0).all()

    def loss(learned):
        leaves = jax.tree.leaves(way.parameters(learned, frozen))
        return sum(jnp.sum((leaf - 7) ** 2) for leaf in leaves)

    for _ in range(2):
        found = way.parameters(learned, frozen)
        assert (np.asarray(found["fc"]["kernel"])[off] == 0).all()
        gradient = jax.grad(loss)(learned)
        assert (np.asarray(gradient["train"]["fc"]["kernel"])[off] == 0).all()
        updates, state = optimizer.update(gradient, state, learned)
        learned = optax.apply_updates(learned, updates)
    stored = way.store(learned, frozen)
    kernel = np.asarray(stored.arrays["params"]["fc"]["kernel"])
    assert (kernel[off] == 0).all()
    assert (kernel[~off] != np.asarray(PARAMS["fc"]["kernel"])[~off]).all()
    chex.assert_trees_all_equal(stored.masks, KEPT)


def test_what_is_off_is_zero_even_where_it_is_not_finite():
    spoiled = {**PARAMS, "fc": {**PARAMS["fc"], "kernel": jnp.full((2, 3), jnp.inf)}}
    way = weights(kept=KEPT)
    _, frozen = way.init(None, PARAMS)
    found = way.parameters({"train": spoiled}, frozen)["fc"]["kernel"]
    np.testing.assert_array_equal(found, np.where(KEPT["fc"]["kernel"], np.inf, 0))


def test_stored_weights_take_the_place_of_those_that_are_there():
    new = {"fc": {"bias": np.array([7.0, 8.0, 9.0], np.float32)}}
    found = adapter.weights().restore(PARAMS, Stored({}, {"params": new}, {}))
    chex.assert_trees_all_equal(
        found, {**PARAMS, "fc": {"kernel": PARAMS["fc"]["kernel"], "bias": new["fc"]["bias"]}}
    )
    chex.assert_trees_all_equal(adapter.weights().restore(PARAMS, Stored({}, {}, {})), PARAMS)


@pytest.mark.parametrize(
    ("new", "message"),
    [({"fc": {"scale": np.ones(3)}}, "fc/scale"), ({"fc": {"bias": np.ones(4)}}, "fc/bias")],
)
def test_stored_weights_of_another_network_are_refused(new, message):
    with pytest.raises(InputError, match=message):
        adapter.weights().restore(PARAMS, Stored({}, {"params": new}, {}))


@pytest.mark.parametrize("name", ["frozen dict", "logically partitioned", "nnx state", "haiku"])
def test_masks_of_a_file_are_kept_in_the_network_s_own_containers(name, tmp_path):
    kind = containers.KINDS[name]
    bits = [np.arange(15).reshape(3, 5) % 4 > 0, np.arange(10).reshape(5, 2) % 3 > 0]
    maskfile.save(tmp_path / "kept.mask", tree.nested(dict(zip(kind.kernels, bits))))
    way = adapter.weights(kept=maskfile.load(tmp_path / "kept.mask"))
    learned, frozen = way.init(None, kind.make())
    found = jax.jit(way.parameters)(jax.tree.map(lambda leaf: leaf + 1, learned), frozen)
    assert jax.tree.structure(found) == jax.tree.structure(kind.make())
    leaves = tree.named_leaves(found)
    for path, on, array in zip(kind.kernels, bits, (containers.BODY, containers.HEAD)):
        np.testing.assert_allclose(leaves[path], np.where(on, array + 1, 0), rtol=1e-6)
