"""The law of adapters: what is stored restores the trained network, bit for bit."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxmask import adapter, mask, model, tree
from jaxmask.adapter import Stored

RULES = [("head/.*", "train"), (".*/kernel", "mask")]
ADAPTERS = {
    "full": adapter.weights(),
    "bias": adapter.weights([("(.*/)?bias", "train")]),
    "threshold": adapter.masks(mask.threshold(0.1, mask.normal()), RULES),
    "far threshold": adapter.masks(mask.threshold(10.0, mask.constant(10.5)), RULES),
    "constant rescaling": adapter.masks(mask.threshold(0, mask.normal(), "constant"), RULES),
    "no rescaling": adapter.masks(mask.threshold(0, mask.normal(), False), RULES),
    "sign": adapter.masks(mask.sign(init=mask.normal()), RULES),
    "top_k": adapter.masks(mask.top_k(0.3), RULES),
    "density": adapter.masks(mask.top_k, RULES, density=0.25),
    "falling density": adapter.masks(mask.top_k, RULES, density=0.25, falling_epochs=2.0),
    "a share": adapter.masks(mask.threshold(0.0, mask.normal()), RULES, share=0.5),
    "the largest": adapter.masks(
        mask.threshold(0.0, mask.normal()), RULES, share=0.5, share_by="magnitude"
    ),
    "lora": adapter.lora(RULES, rank=2, scale=0.7),
    "levels": adapter.masks(mask.levels(init=mask.normal()), RULES),
    "four levels": adapter.masks(
        mask.levels((-0.5, 0.7, 1.0, 1.3), (-1.0, 0.1, 1.0), mask.normal()), RULES
    ),
    "scaled": adapter.scaled(adapter.masks(mask.threshold(0.1, mask.normal()), RULES), RULES),
}
# the adapter that restores a file of ours, by its method alone
KNOWN = {"full": "full", "bias": "bias", "sign": "mask_sign", "lora": "lora",
         "top_k": "mask_topk", "no rescaling": "mask", "four levels": "mask",
         "scaled": "mask"}  # fmt: skip


def moved(learned, seed):
    """The learned trees after some training: everything has changed."""
    random = np.random.default_rng(seed)

    def leaf(path, value):
        if "density" in jax.tree_util.keystr(path):
            return value
        return value + jnp.asarray(random.normal(size=value.shape), value.dtype)

    return jax.tree_util.tree_map_with_path(leaf, learned)


def as_in_a_file(stored):
    """Nested dicts by path, masks as bits, as read from a mask file."""
    signs = any((np.asarray(leaf) < 0).any() for leaf in jax.tree.leaves(stored.masks))
    bits = {
        path: np.where(np.asarray(leaf) > 0, 1, -1).astype(np.int8) if signs else leaf > 0
        for path, leaf in tree.named_leaves(stored.masks).items()
    }
    arrays = {name: tree.nested(tree.named_leaves(each)) for name, each in stored.arrays.items()}
    return Stored(tree.nested(bits), arrays, stored.settings)


def check(way, params, seed=0, restores=None):
    learned, frozen = way.init(jax.random.key(seed), params)
    learned = moved(learned, seed)
    stored = as_in_a_file(way.store(learned, frozen))

    def restored(params, masks, arrays):
        return (restores or way).restore(params, Stored(masks, arrays, stored.settings))

    wanted = jax.jit(way.parameters)(learned, frozen)
    found = jax.jit(restored)(params, stored.masks, stored.arrays)
    chex.assert_trees_all_equal_shapes_and_dtypes(found, wanted)
    chex.assert_trees_all_equal(found, wanted)
    chex.assert_trees_all_equal_dtypes(params, wanted)


@functools.cache
def network(name):
    """The parameters of a small real network; of a ResNet one block a stage."""
    made = model.create(name, classes=3, width=0.25)
    made = made.clone(blocks=1) if name == "resnet20" else made
    return model.initialize(made, jax.random.key(0), (16, 16, 1))["params"]


def lenet():
    return network("lenet5")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", ADAPTERS)
def test_a_network_comes_back_bit_for_bit(name, dtype):
    check(ADAPTERS[name], jax.tree.map(lambda leaf: leaf.astype(dtype), lenet()))


@pytest.mark.parametrize("name", ["threshold", "lora"])
@pytest.mark.parametrize("deep", ["resnet20"])
def test_deep_networks_come_back_bit_for_bit(deep, name):
    check(ADAPTERS[name], network(deep))


@pytest.mark.parametrize(("name", "method"), KNOWN.items())
def test_the_known_adapter_of_a_method_restores_what_it_stored(name, method):
    check(ADAPTERS[name], lenet(), restores=adapter.KNOWN[method])


SHAPES = st.lists(st.integers(1, 4), min_size=2, max_size=4).map(tuple)


@settings(max_examples=6)
@given(
    shapes=st.lists(SHAPES, min_size=1, max_size=2),
    dtype=st.sampled_from(["float32", "bfloat16", "float16"]),
    name=st.sampled_from(sorted(ADAPTERS)),
    seed=st.integers(0, 2**16),
)
def test_random_trees_come_back_bit_for_bit(shapes, dtype, name, seed):
    random = np.random.default_rng(seed)

    def layer(shape):
        kernel = jnp.asarray(random.normal(size=shape), dtype)
        return {"kernel": kernel, "bias": jnp.zeros(shape[-1], dtype)}

    params = {f"layer{index}": layer(shape) for index, shape in enumerate(shapes)}
    check(ADAPTERS[name], {**params, "head": layer((3, 2))}, seed)


def test_the_gradient_reaches_all_learned_parameters():
    for name, way in ADAPTERS.items():
        learned, frozen = way.init(jax.random.key(0), lenet())
        learned = moved(learned, 1)
        gradient = jax.grad(
            lambda learned, way=way, frozen=frozen: sum(
                jnp.sum(leaf**3) for leaf in jax.tree.leaves(way.parameters(learned, frozen))
            )
        )(learned)
        chex.assert_tree_all_finite(gradient)
        for group in learned.keys() - {"density"}:
            moves = [float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(gradient[group])]
            assert max(moves) > 0, (name, group)
