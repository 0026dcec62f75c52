"""A scale per output channel, on top of any adapter."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmask import adapter, mask, tree
from jaxmask.adapter import Stored
from jaxmask.errors import InputError

RULES = [("head/.*", "train"), (".*/kernel", "mask")]
random = np.random.default_rng(0)


def drawn(*shape):
    return jnp.asarray(random.normal(size=shape), jnp.float32)


PARAMS = {
    "conv": {"kernel": drawn(3, 3, 4, 5), "bias": drawn(5)},
    "deep": {"kernel": drawn(2, 4, 3), "bias": drawn(2, 3)},  # two layers
    "head": {"kernel": drawn(3, 2)},
}


@pytest.mark.parametrize(
    "inner", [adapter.masks(mask.threshold(0.0, mask.normal()), RULES), adapter.lora(
        [("deep/.*", "freeze"), *RULES], 2)],
)  # fmt: skip
def test_every_output_is_multiplied_by_its_number(inner):
    rules = [("deep/.*", "freeze"), *RULES]
    way = adapter.scaled(inner, rules)
    learned, frozen = way.init(jax.random.key(1), PARAMS)
    assert jax.tree.map(jnp.shape, learned["scale"]["conv"]["kernel"]) == (1, 1, 1, 5)
    c = drawn(1, 1, 1, 5)
    learned["scale"]["conv"]["kernel"] = c
    plain = {name: each for name, each in learned.items() if name != "scale"}
    wanted = inner.parameters(plain, frozen)
    found = way.parameters(learned, frozen)
    np.testing.assert_array_equal(
        found["conv"]["kernel"], np.asarray(wanted["conv"]["kernel"]) * np.asarray(c)
    )
    chex.assert_trees_all_equal({**found, "conv": 0}, {**wanted, "conv": 0})


def test_stacked_layers_have_scales_of_their_own():
    way = adapter.scaled(adapter.masks(mask.threshold(), RULES), RULES)
    learned, _ = way.init(jax.random.key(1), PARAMS)
    scale = learned["scale"]["deep"]["kernel"]
    assert scale.shape == (2, 1, 3)
    assert tree.size(learned["scale"]) == 5 + 6


def test_at_the_start_it_changes_nothing_and_it_learns():
    inner = adapter.masks(mask.threshold(), RULES)
    way = adapter.scaled(inner, RULES)
    learned, frozen = way.init(jax.random.key(1), PARAMS)
    chex.assert_trees_all_equal(
        way.parameters(learned, frozen),
        inner.parameters({name: learned[name] for name in ("scores", "train")}, frozen),
    )
    gradient = jax.grad(
        lambda learned: jnp.sum(way.parameters(learned, frozen)["conv"]["kernel"] ** 2)
    )(learned)
    # d/dc of sum (c w)^2 at c = 1: 2 sum w^2 per output
    wanted = 2 * jnp.sum(PARAMS["conv"]["kernel"] ** 2, (0, 1, 2), keepdims=True)
    np.testing.assert_allclose(gradient["scale"]["conv"]["kernel"], wanted, rtol=1e-5)


def test_the_methods_of_masks_restore_scales():
    way = adapter.scaled(adapter.masks(mask.threshold(), RULES), RULES)
    learned, frozen = way.init(jax.random.key(1), PARAMS)
    learned["scale"]["conv"]["kernel"] = drawn(1, 1, 1, 5)
    found = adapter.KNOWN["mask"].restore(PARAMS, way.store(learned, frozen))
    chex.assert_trees_all_close(found, way.parameters(learned, frozen), rtol=1e-6)


@pytest.mark.parametrize(
    ("path", "scale", "message"),
    [
        ("conv/kernel", jnp.ones((1, 1, 4, 1, 1)), "does not fit"),
        ("conv/kernel", jnp.ones((1, 1, 1, 4)), "does not fit"),
        ("conv/kernel", jnp.ones((1, 1, 1, 5), int), "does not fit"),
        ("conv/scale", jnp.ones(5), "does not exist"),
    ],
)
def test_scales_that_do_not_fit_are_refused(path, scale, message):
    stored = Stored({}, {"scale": tree.nested({path: scale})}, {})
    with pytest.raises(InputError, match=message):
        adapter.KNOWN["mask"].restore(PARAMS, stored)


def test_outputs_that_are_not_known_are_refused():
    params = {"fc": {"kernel": jnp.ones((3, 4, 5))}}  # layers, or heads
    way = adapter.scaled(
        adapter.masks(mask.sign(init=mask.magnitude()), [(".*", "mask")]), [(".*", "mask")]
    )
    with pytest.raises(InputError, match="a scale of its outputs"):
        way.init(jax.random.key(0), params)
