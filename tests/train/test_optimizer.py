import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxmask.errors import InputError
from jaxmask.train import optimizer


def peaked(state, peak):
    return optimizer.set_peaks({"train": state}, {"learning_rate": peak})["train"]


def test_cosine_with_warm_up_rises_linearly_and_falls_to_zero():
    course = optimizer.schedule("cosine(warmup_epochs=2)", steps=100, steps_per_epoch=10)
    steps = np.arange(100)
    expected = np.where(
        steps < 20, steps / 20, 0.5 * (1 + np.cos(np.pi * np.clip(steps - 20, 0, 80) / 80))
    )
    np.testing.assert_allclose([float(course(step)) for step in steps], expected, atol=1e-6)


def test_constant_and_steps():
    constant = optimizer.schedule("constant", 10, 5)
    assert float(constant(9)) == 1
    stairs = optimizer.schedule("steps(epochs=(1, 2), factor=0.1)", 15, 5)
    np.testing.assert_allclose([float(stairs(s)) for s in (0, 4, 6, 11)], [1, 1, 0.1, 0.01])


@pytest.mark.parametrize("text", ["cosine(warmup_epochs=10)", "cosin", "steps(epochs=3)"])
def test_bad_schedules_are_refused(text):
    with pytest.raises(InputError, match="schedule"):
        optimizer.schedule(text, 100, 10)


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("sgd(momentum=0.9)", lambda rate: optax.sgd(rate, momentum=0.9)),
        ("trace(0.9)", lambda rate: optax.sgd(rate, momentum=0.9)),
        ("adamw(weight_decay=0.1)", lambda rate: optax.adamw(rate, weight_decay=0.1)),
        (
            "scale_by_adam, add_decayed_weights(0.1)",
            lambda rate: optax.adamw(rate, weight_decay=0.1),
        ),
    ],
)
def test_a_chain_by_name_is_that_of_optax(text, reference):
    course = optimizer.schedule("cosine", 20, 5)
    ours = optimizer.optimizer(text, course)
    theirs = reference(lambda step: 0.3 * course(step))
    weights = other = {"a": jnp.arange(1.0, 4.0), "hole": None}
    state, other_state = peaked(ours.init(weights), 0.3), theirs.init(weights)
    for step in range(5):
        gradient = jax.tree.map(lambda leaf, step=step: jnp.sin(leaf + step), weights)
        updates, state = ours.update(gradient, state, weights)
        other_updates, other_state = theirs.update(gradient, other_state, other)
        weights = optax.apply_updates(weights, updates)
        other = optax.apply_updates(other, other_updates)
    np.testing.assert_allclose(weights["a"], other["a"], rtol=1e-6)


def test_clipping_bounds_the_norm_of_the_gradient():
    plain = optimizer.optimizer("sgd", optimizer.schedule("constant", 1, 1), clip=0.5)
    weights = {"a": jnp.zeros(2)}
    updates, _ = plain.update({"a": jnp.array([3.0, 4.0])}, plain.init(weights), weights)
    np.testing.assert_allclose(updates["a"], [-0.3, -0.4], rtol=1e-6)


def test_groups_have_their_own_rates_and_another_rate_does_not_recompile():
    course = optimizer.schedule("constant", 1, 1)
    both = optimizer.grouped(
        {"mask": optimizer.optimizer("sgd", course), "train": optimizer.optimizer("sgd", course)}
    )
    learned = {"mask": {"a": jnp.ones(2)}, "train": {"b": jnp.ones(2)}}
    traced = []

    @jax.jit
    def step(learned, state):
        traced.append(1)
        updates, _ = both.update(learned, state, learned)
        return optax.apply_updates(learned, updates)

    state = both.init(learned)
    for rate in (0.25, 0.5):
        state = {name: peaked(state[name], rate * (1 + (name == "mask")))
                 for name in state}  # fmt: skip
        result = step(learned, state)
        np.testing.assert_allclose(result["train"]["b"], 1 - rate)
        np.testing.assert_allclose(result["mask"]["a"], 1 - 2 * rate)
    assert len(traced) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sdg", "did you mean 'sgd'"),
        ("sgd(0.1)", "a field of its own"),
        ("sgd(learning_rate=0.1)", "a field of its own"),
        ("sgd, adam", "both sgd and adam"),
        ("clip()", "clip"),
        ("polyak_sgd", "scale_by_polyak"),
    ],
)
def test_bad_chains_are_refused(text, message):
    with pytest.raises(InputError, match=message):
        optimizer.optimizer(text, optimizer.schedule("constant", 1, 1))


@pytest.mark.parametrize(("target", "steps"), [(0.5, 4), (0.1, 5), (1.0, 3)])
def test_a_falling_density_is_a_line_to_its_target(target, steps):
    parameters = {"now": jnp.float32(1.0), "target": jnp.float32(target)}
    fall = optimizer.falling(steps)
    state, ignored = fall.init(parameters), {"now": jnp.float32(7.0), "target": jnp.float32(7.0)}
    for step in range(1, steps + 3):
        updates, state = fall.update(ignored, state, parameters)
        parameters = optax.apply_updates(parameters, updates)
        expected = 1 - (1 - target) * min(step / steps, 1)
        np.testing.assert_allclose(parameters["now"], expected, rtol=3e-7)
        assert parameters["target"] == np.float32(target)
