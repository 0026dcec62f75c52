"""Masks over frozen weights: `w * m / sqrt(mean m)` and its groups, against numpy."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxmask import adapter, mask, tree
from jaxmask.adapter import Stored
from jaxmask.errors import InputError
from jaxmask.run import defaults
from jaxmask.train import optimizer

pytestmark = pytest.mark.usefixtures("quick_compilation")

RULES = [("head/.*", "train"), (".*/kernel", "mask")]


def network(seed=0, shape=(4, 5)):
    random = np.random.default_rng(seed)

    def array(*shape):
        return jnp.asarray(random.normal(size=shape), jnp.float32)

    return {
        "fc1": {"kernel": array(*shape), "bias": array(shape[-1])},
        "fc2": {"kernel": array(shape[-1], 3), "bias": array(3)},
        "head": {"kernel": array(3, 2), "bias": array(2)},
    }


def with_scores(learned, seed=1):
    """Other scores: normal random numbers."""
    random = np.random.default_rng(seed)
    new = jax.tree.map(
        lambda leaf: jnp.asarray(random.normal(size=leaf.shape), leaf.dtype), learned["scores"]
    )
    return {**learned, "scores": new}


def kept(scores, names=("fc1", "fc2")):
    return {name: np.asarray(scores[name]["kernel"]) > 0 for name in names}


@pytest.mark.parametrize("rescale", [True, False, "constant"])
@settings(max_examples=5)
@given(seed=st.integers(0, 2**16), shape=st.sampled_from([(1, 3), (4, 5)]))
def test_the_network_is_masked_and_rescaled_as_the_formula_says(rescale, seed, shape):
    way = adapter.masks(mask.threshold(rescale=rescale), RULES)
    params = network(seed, shape)
    learned, frozen = way.init(jax.random.key(0), params)
    learned = with_scores(learned, seed)
    found = way.parameters(learned, frozen)
    for name, on in kept(learned["scores"]).items():
        alpha = np.sqrt(on.mean()) if rescale and on.any() else 1.0
        wanted = np.asarray(params[name]["kernel"]) * on / alpha
        np.testing.assert_allclose(found[name]["kernel"], wanted, rtol=1e-5)
    rest = {"fc1": {"bias": 0}, "fc2": {"bias": 0}, "head": {"kernel": 0, "bias": 0}}
    picked = [{name: {leaf: of[name][leaf] for leaf in inside} for name, inside in rest.items()}
              for of in (found, params)]  # fmt: skip
    chex.assert_trees_all_equal(*picked)


def test_what_is_learned_and_what_is_frozen_are_the_parts_that_the_rules_name():
    params = network()
    learned, frozen = adapter.masks(mask.threshold(), RULES).init(jax.random.key(0), params)
    assert (set(learned), set(frozen)) == ({"scores", "train"}, {"weights", "freeze"})
    paths = {name: set(tree.named_leaves(part)) for name, part in {**learned, **frozen}.items()}
    assert paths["scores"] == paths["weights"] == {"fc1/kernel", "fc2/kernel"}
    assert paths["train"] == {"head/kernel", "head/bias"}
    assert paths["freeze"] == {"fc1/bias", "fc2/bias"}


def test_a_step_of_the_optimizers_moves_scores_by_one_rate_and_the_head_by_the_other():
    """The gradient of a score is that of its bit: of `w * m`, summed, the weight itself."""
    way = adapter.masks(mask.threshold(rescale=False), RULES)
    params = network()
    learned, frozen = way.init(jax.random.key(0), params)
    config = defaults.train(1)
    config.optimizer = config.mask_optimizer = "sgd"
    config.schedule = "constant"
    together = optimizer.grouped(way.optimizers(optimizer.Section(config, 10, 5)))
    state = optimizer.set_peaks(
        together.init(learned), {"learning_rate": 0.1, "mask_learning_rate": 2.0}
    )
    gradient = jax.grad(
        lambda learned: sum(map(jnp.sum, jax.tree.leaves(way.parameters(learned, frozen))))
    )(learned)
    updates, _ = together.update(gradient, state, learned)
    after = optax.apply_updates(learned, updates)
    for name in ("fc1", "fc2"):
        wanted = 1 - 2.0 * np.asarray(params[name]["kernel"])
        np.testing.assert_allclose(after["scores"][name]["kernel"], wanted, rtol=1e-5)
    np.testing.assert_allclose(
        after["train"]["head"]["bias"], np.asarray(params["head"]["bias"]) - 0.1, rtol=1e-5
    )


@pytest.mark.parametrize("density", [0.25, 0.5, 1.0])
def test_a_density_is_kept_in_every_layer_and_is_an_array_of_the_run(density):
    way = adapter.masks(lambda share: mask.top_k(share, rescale=False), RULES, density=density)
    params = network(shape=(4, 4))
    learned, frozen = way.init(jax.random.key(0), params)
    learned = with_scores(learned)
    found = way.parameters(learned, frozen)
    scores = np.asarray(learned["scores"]["fc1"]["kernel"])
    lowest = np.sort(scores, axis=None)[-round(density * 16)]
    wanted = np.asarray(params["fc1"]["kernel"]) * (scores >= lowest)
    np.testing.assert_allclose(found["fc1"]["kernel"], wanted)

    @jax.jit
    @chex.assert_max_traces(n=1)
    def share(learned, frozen):
        return way.store(learned, frozen).masks["fc1"]["kernel"].mean()

    assert float(share(learned, frozen)) == density
    assert float(share(learned, {**frozen, "density": jnp.float32(0.75)})) == 0.75


def test_a_falling_density_begins_at_one_and_is_learned():
    way = adapter.masks(mask.top_k, RULES, density=0.25, falling_epochs=2.0)
    learned, frozen = way.init(jax.random.key(0), network())
    chex.assert_trees_all_equal(
        learned["density"], {"now": jnp.float32(1), "target": jnp.float32(0.25)}
    )
    assert "density" not in frozen
    fall = way.optimizers(optimizer.Section(defaults.train(4), 20, 5))["density"]
    state, parameters, course = fall.init(learned["density"]), learned["density"], []
    for _ in range(12):  # two epochs of five steps, and two more steps
        updates, state = fall.update(parameters, state, parameters)
        parameters = optax.apply_updates(parameters, updates)
        course.append(float(parameters["now"]))
    wanted = [1 - 0.75 * min(step / 10, 1) for step in range(1, 13)]
    np.testing.assert_allclose(course, wanted, rtol=1e-6)


@pytest.mark.parametrize("by", ["random", "magnitude"])
def test_only_the_chosen_share_of_the_scores_can_turn_a_weight_off(by):
    way = adapter.masks(mask.threshold(), RULES, share=0.5, share_by=by)
    params = network(shape=(4, 4))
    learned, frozen = way.init(jax.random.key(3), params)
    off = jax.tree.map(lambda leaf: -jnp.ones_like(leaf), learned["scores"])
    masks = way.store({**learned, "scores": off}, frozen).masks
    for name in ("fc1", "fc2"):
        size = params[name]["kernel"].size
        assert masks[name]["kernel"].sum() == size - round(size / 2)
    if by == "magnitude":  # the largest are those that are learned
        size = np.abs(np.asarray(params["fc1"]["kernel"]))
        chosen = size >= np.sort(size, axis=None)[8]
        np.testing.assert_array_equal(masks["fc1"]["kernel"], ~chosen)


def test_what_is_stored_says_how_masks_are_put_back():
    params = network()
    for transform, wanted in (
        (mask.threshold(), {"rescale": True}),
        (mask.threshold(rescale=False), {"rescale": False}),
        (mask.sign(init=mask.normal()), {"rescale": False}),
    ):
        way = adapter.masks(transform, RULES, settings={"transform": "mine"})
        stored = way.store(*way.init(jax.random.key(0), params))
        assert stored.settings == {**wanted, "transform": "mine"}
        assert set(stored.arrays) == {"params"}


@pytest.mark.parametrize("settings_of_file", [{}, {"rescale": True}, {"rescale": False}])
def test_the_file_decides_about_rescaling_and_an_old_one_is_rescaled(settings_of_file):
    params = network(shape=(2, 2))
    bits = {"fc1": {"kernel": np.array([[True, False], [False, False]])}}
    way = adapter.masks(mask.threshold(rescale=False), ())
    found = way.restore(params, Stored(bits, {}, settings_of_file))
    factor = 2.0 if settings_of_file.get("rescale", True) else 1.0
    wanted = factor * params["fc1"]["kernel"] * bits["fc1"]["kernel"]
    np.testing.assert_allclose(found["fc1"]["kernel"], wanted)
    chex.assert_trees_all_equal({**found, "fc1": 0}, {**params, "fc1": 0})


def test_what_cannot_be_is_refused():
    without = mask.threshold()._replace(put=None)
    with pytest.raises(InputError, match="no 'put'"):
        adapter.masks(without, RULES)
    with pytest.raises(InputError, match="no 'put'"):
        adapter.masks(lambda density: without, RULES, density=0.5)
    with pytest.raises(InputError, match="mask nothing"):
        adapter.masks(mask.threshold(), [(".*", "train")]).init(None, network())


def stacked(layers=3):
    """Stacked layers whose name says it, and which only their bias gives away."""
    random = np.random.default_rng(0)
    kernel = jnp.asarray(random.normal(size=(layers, 4, 5)), jnp.float32)
    return {
        "blocks": {"up": {"kernel": kernel, "bias": jnp.zeros((layers, 5))}},
        "head": {"kernel": jnp.ones((5, 2)), "bias": jnp.zeros(2)},
    }


@pytest.mark.parametrize("name", ["mask", "mask_topk"])
def test_stacked_layers_are_masked_and_come_back_each_with_its_own_density(name):
    params = stacked()
    site = adapter.Site("own", params, tuple(RULES[1:]), (), RULES[0], mask.describe(params))
    section = defaults.adapt("digits", epochs=1)[name]
    way = adapter.METHODS[name].build(section, site)
    learned, frozen = way.init(jax.random.key(0), params)
    learned = with_scores(learned)
    found = np.asarray(way.parameters(learned, frozen)["blocks"]["up"]["kernel"])
    stored = way.store(learned, frozen)
    on = np.asarray(stored.masks["blocks"]["up"]["kernel"]) > 0
    alpha = np.sqrt(on.mean(axis=(1, 2), keepdims=True))
    assert len(set(alpha.ravel().tolist())) == (1 if name == "mask_topk" else 3)
    np.testing.assert_allclose(found, params["blocks"]["up"]["kernel"] * on / alpha, rtol=1e-5)
    assert stored.settings["axes"] == {"blocks/up/kernel": "layers in out"}
    again = adapter.KNOWN[name].restore(params, stored)["blocks"]["up"]["kernel"]
    np.testing.assert_allclose(again, found, rtol=1e-6)
