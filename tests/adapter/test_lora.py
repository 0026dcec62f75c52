"""Low-rank updates: `w + scale * a b`, against numpy."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxmask import adapter, tree
from jaxmask.adapter import Stored, lora
from jaxmask.errors import InputError

pytestmark = pytest.mark.usefixtures("quick_compilation")

RULES = [("head/.*", "train"), (".*/kernel", "mask")]


def network(seed=0, dtype="float32"):
    random = np.random.default_rng(seed)

    def array(*shape):
        return jnp.asarray(random.normal(size=shape), dtype)

    return {
        "conv": {"kernel": array(3, 2, 4, 5), "bias": array(5)},
        "fc": {"kernel": array(6, 7), "bias": array(7)},
        "head": {"kernel": array(7, 2), "bias": array(2)},
    }


def moved(learned, seed):
    random = np.random.default_rng(seed)
    return jax.tree.map(
        lambda leaf: jnp.asarray(random.normal(size=leaf.shape), leaf.dtype), learned
    )


@settings(max_examples=8)
@given(rank=st.sampled_from([1, 3]), scale=st.floats(0, 3), seed=st.integers(0, 2**16))
def test_a_kernel_is_changed_by_the_scaled_product_of_its_factors(rank, scale, seed):
    way = adapter.lora(RULES, rank, scale)
    params = network(seed)
    learned, frozen = way.init(jax.random.key(seed), params)
    learned = moved(learned, seed)
    found = way.parameters(learned, frozen)
    for name in ("conv", "fc"):
        a, b = (np.asarray(learned["low_rank"][name]["kernel"][each], np.float64) for each in "ab")
        wanted = np.asarray(params[name]["kernel"]) + scale * np.einsum("...ir,ro->...io", a, b)
        np.testing.assert_allclose(found[name]["kernel"], wanted, rtol=1e-4, atol=1e-4)
        np.testing.assert_array_equal(found[name]["bias"], params[name]["bias"])
    chex.assert_trees_all_equal(found["head"], learned["train"]["head"])


def test_a_convolutions_update_is_two_convolutions():
    """One to r channels, then a 1x1: their composition is the convolution by the product."""
    way = adapter.lora(RULES, 2, 1.0)
    learned, frozen = way.init(jax.random.key(0), network())
    learned = moved(learned, 0)
    pair = learned["low_rank"]["conv"]["kernel"]
    update = way.parameters(learned, frozen)["conv"]["kernel"] - network()["conv"]["kernel"]
    images = jax.random.normal(jax.random.key(1), (2, 8, 8, 4))

    def convolved(x, kernel):
        return jax.lax.conv_general_dilated(
            x, kernel, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    twice = convolved(convolved(images, pair["a"]), pair["b"][None, None])
    np.testing.assert_allclose(convolved(images, update), twice, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_there_is_no_update_yet_and_the_factors_have_their_shapes(dtype):
    params = network(dtype=dtype)
    way = adapter.lora(RULES, 3)
    learned, frozen = way.init(jax.random.key(0), params)
    chex.assert_trees_all_equal(way.parameters(learned, frozen), params)
    pair = learned["low_rank"]["conv"]["kernel"]
    chex.assert_shape([pair["a"], pair["b"]], [(3, 2, 4, 3), (3, 5)])
    chex.assert_type([pair["a"], pair["b"]], dtype)
    a = np.asarray(pair["a"], np.float32)
    assert np.abs(a).max() <= 1.01 / np.sqrt(3 * 2 * 4)
    assert a.std() > 0.4 / np.sqrt(3 * 2 * 4)  # of a uniform one: 0.577
    assert (np.asarray(pair["b"]) == 0).all()


def test_every_group_has_the_optimizer_of_weights():
    class Section:
        def weights(self):
            return "that of weights"

    assert adapter.lora(RULES).optimizers(Section()) == dict.fromkeys(
        ("train", "low_rank"), "that of weights"
    )


def test_a_leaf_of_one_axis_stays_frozen_whatever_its_label():
    way = adapter.lora([("head/.*", "train"), (".*", "mask")])
    _, frozen = way.init(jax.random.key(0), network())
    assert set(tree.named_leaves(frozen["freeze"])) == {"conv/bias", "fc/bias"}
    assert set(tree.named_leaves(frozen["weights"])) == {"conv/kernel", "fc/kernel"}


def test_rules_that_name_no_kernel_are_refused():
    for rules in ([(".*", "train")], [("head/.*", "train"), (".*/bias", "mask")]):
        with pytest.raises(InputError, match="label no kernel"):
            adapter.lora(rules).init(jax.random.key(0), network())


PAIR = {"a": np.ones((6, 2), np.float32), "b": np.ones((2, 7), np.float32)}


@pytest.mark.parametrize(
    ("low_rank", "settings_of_file", "message"),
    [
        ({"fc": {"kernel": PAIR}}, {}, "low_rank_scale is None"),
        ({"fc": {"kernel": PAIR}}, {"low_rank_scale": True}, "low_rank_scale is True"),
        ({"fc": {"kernel": PAIR}}, {"low_rank_scale": "1"}, "low_rank_scale is '1'"),
        ({"fc": {"kernel": PAIR}}, {"low_rank_scale": float("nan")}, "low_rank_scale is nan"),
        ({"fc": {"kernel": {"a": PAIR["a"]}}}, {"low_rank_scale": 1}, "lacks one of its factors"),
        ({"gone": {"kernel": PAIR}}, {"low_rank_scale": 1}, "'gone/kernel', which does not exist"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(low_rank, settings_of_file, message):
    stored = Stored({}, {"low_rank": low_rank}, settings_of_file)
    with pytest.raises(InputError, match=message):
        lora(()).restore(network(), stored)


@pytest.mark.parametrize("shapes", [((6, 2), (2, 8)), ((1, 2), (2, 7)), ((6, 2), (3, 7))])
def test_factors_of_another_kernel_are_refused(shapes):
    pair = {name: np.ones(shape, np.float32) for name, shape in zip("ab", shapes)}
    stored = Stored({}, {"low_rank": {"fc": {"kernel": pair}}}, {"low_rank_scale": 1.0})
    with pytest.raises(InputError):
        lora(()).restore(network(), stored)


def test_an_update_of_a_kernel_to_or_from_heads_is_that_of_its_matrix():
    random = np.random.default_rng(0)
    kernels = {"query": (8, 2, 3), "key": (8, 2, 3), "value": (8, 2, 3), "out": (2, 3, 8)}
    params = {
        name: {"kernel": jnp.asarray(random.normal(size=shape), jnp.float32)}
        for name, shape in kernels.items()
    }
    way = adapter.lora([(".*kernel", "mask")], 2, 1.0)
    learned, frozen = way.init(jax.random.key(0), params)
    learned = moved(learned, 0)
    found = way.parameters(learned, frozen)
    for name, shape in kernels.items():
        matrix = (8, 6) if name != "out" else (6, 8)
        update = np.asarray(found[name]["kernel"] - params[name]["kernel"]).reshape(matrix)
        assert np.linalg.matrix_rank(update, tol=1e-4) == 2
        pair = learned["low_rank"][name]["kernel"]
        assert pair["b"].shape == (2, *((8,) if name == "out" else shape[1:]))
    back = way.restore(params, way.store(learned, frozen))
    chex.assert_trees_all_close(back, found, rtol=1e-6)


def test_outputs_may_come_first():
    params = {"layers": [{"weight": jnp.ones((6, 8))}]}
    way = adapter.lora([(".*weight", "mask")], 2, 1.0, axes=[(".*", "out in")])
    learned, frozen = way.init(jax.random.key(0), params)
    pair = learned["low_rank"]["layers"][0]["weight"]
    assert pair["a"].shape == (6, 2)
    assert pair["b"].shape == (2, 8)
    assert not pair["a"].any()
    assert 0 < jnp.abs(pair["b"]).max() <= 8**-0.5
    chex.assert_trees_all_equal(way.parameters(learned, frozen), params)


def test_stacked_layers_are_refused_by_path():
    params = {"blocks": {"up": {"kernel": jnp.ones((3, 4, 5)), "bias": jnp.ones((3, 5))}}}
    with pytest.raises(InputError, match="'blocks/up/kernel' is 'layers in out'"):
        adapter.lora([(".*kernel", "mask")], 2).init(jax.random.key(0), params)
