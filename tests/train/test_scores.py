"""Optimizers that know what a score is."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxmask.errors import InputError
from jaxmask.train import optimizer
from jaxmask.train.scores import flips, normalize_by_leaf, polyak_by_leaf


def course(steps, sizes=(7, 12), seed=0):
    """Gradients of every step, of leaves of very different sizes."""
    random = np.random.default_rng(seed)
    return [
        {name: random.normal(0.1, 10.0 ** (3 * k - 2), size).astype(np.float32)
         for k, (name, size) in enumerate(zip("ab", sizes))}
        for _ in range(steps)
    ]  # fmt: skip


def run(rule, gradients, scores):
    """The scores after each step."""
    step, state, found = jax.jit(rule.update), rule.init(scores), []
    for gradient in gradients:
        updates, state = step(gradient, state, scores)
        scores = optax.apply_updates(scores, updates)
        found.append(jax.device_get(scores))
    return found


def test_normalizing_is_its_formula():
    gradients, decay = course(6), 0.8
    rule = normalize_by_leaf(decay)
    scores = {"a": jnp.zeros(7), "b": jnp.zeros(12), "hole": None}
    state = rule.init(scores)
    square = {"a": 0.0, "b": 0.0}
    for step, gradient in enumerate(gradients, 1):
        found, state = rule.update({**gradient, "hole": None}, state)
        for name, g in gradient.items():
            square[name] = decay * square[name] + (1 - decay) * np.mean(np.float64(g) ** 2)
            wanted = g / np.sqrt(square[name] / (1 - decay**step))
            np.testing.assert_allclose(found[name], wanted, rtol=2e-5)


@pytest.mark.parametrize("most", [0.1, 1e-5])
def test_polyaks_steps_are_their_formula(most):
    gradients, decay, shares = course(6), 0.8, []
    rule = polyak_by_leaf(decay, most)
    scores = {"a": jnp.zeros(7), "b": jnp.zeros(12), "hole": None}
    state = rule.init(scores)
    square = {"a": 0.0, "b": 0.0}
    for step, gradient in enumerate(gradients, 1):
        loss = 3.0 / step
        found, state = rule.update({**gradient, "hole": None}, state, value=jnp.float32(loss))
        for name, g in gradient.items():
            square[name] = decay * square[name] + (1 - decay) * np.mean(np.float64(g) ** 2)
        size = {name: np.sqrt(square[name] / (1 - decay**step)) for name in gradient}
        slope = sum(g.size * size[name] for name, g in gradient.items())
        shares.append(min(1, loss / (most * slope)))
        for name, g in gradient.items():
            np.testing.assert_allclose(found[name], g / size[name] * shares[-1], rtol=2e-5)
    assert max(shares) < 1 if most == 0.1 else min(shares) == 1


def test_one_of_polyaks_steps_takes_a_linear_loss_to_zero():
    """With gradients of one size in a leaf, along which the loss falls in a straight line."""
    slopes = {"a": jnp.array([2.0, -2.0]), "b": jnp.array([0.1, 0.1, -0.1])}
    scores = {"a": jnp.array([1.0, -0.5]), "b": jnp.array([3.0, 0.0, 1.0])}

    def loss(s):
        return 4.0 + sum(jnp.vdot(slopes[name], s[name]) for name in slopes)

    rule = optimizer.optimizer(
        "polyak_by_leaf(most=2.0), scale(2.0)", optimizer.schedule("constant", 1, 1)
    )
    value, gradient = jax.value_and_grad(loss)(scores)
    updates, _ = rule.update(gradient, rule.init(scores), scores, value=value)
    assert abs(float(loss(optax.apply_updates(scores, updates)))) < 1e-5


@pytest.mark.parametrize(("loss", "share"), [(-5.0, 0.0), (0.0, 0.0), (np.nan, np.nan)])
def test_polyaks_steps_of_a_loss_that_cannot_fall(loss, share):
    rule = polyak_by_leaf()
    scores = {"w": jnp.ones(2), "none": jnp.zeros((0, 3))}
    gradient = {"w": jnp.array([7.0, -1.0]), "none": jnp.zeros((0, 3))}
    found, state = rule.update(gradient, rule.init(scores), value=loss)
    np.testing.assert_array_equal(found["w"], share * jnp.array([1.0, -1.0]))
    found, _ = rule.update(gradient, state, value=1e9)
    np.testing.assert_allclose(found["w"], [1.4, -0.2], rtol=1e-6)


@given(st.integers(-12, 12))
@settings(max_examples=3)
def test_the_size_of_the_loss_does_not_count_for_polyaks_steps(exponent):
    rule, scores = polyak_by_leaf(0.9), {"a": jnp.ones(7), "b": jnp.ones(12)}
    one, other = rule.init(scores), rule.init(scores)
    for gradient in course(3):
        found, one = rule.update(gradient, one, value=0.7)
        scaled = {name: 2.0**exponent * g for name, g in gradient.items()}
        again, other = rule.update(scaled, other, value=0.7 * 2.0**exponent)
        for name in "ab":
            np.testing.assert_allclose(found[name], again[name], rtol=1e-5, atol=1e-9)


@given(st.integers(-12, 12), st.integers(-12, 12))
@settings(max_examples=3)
def test_the_size_of_a_leafs_gradient_does_not_count(first, second):
    rule = optimizer.optimizer(
        "normalize_by_leaf(0.9), sgd(momentum=0.9)", optimizer.schedule("constant", 1, 1)
    )
    scores = {"a": jnp.ones(7), "b": jnp.ones(12)}
    gradients = course(3)
    scaled = [{"a": 2.0**first * g["a"], "b": 2.0**second * g["b"]} for g in gradients]
    for one, other in zip(run(rule, gradients, scores), run(rule, scaled, scores)):
        for name in "ab":
            np.testing.assert_allclose(one[name], other[name], rtol=1e-5, atol=1e-6)


def test_a_gradient_of_zeros_moves_nothing():
    rule = normalize_by_leaf()
    zero = {"w": jnp.zeros(3)}
    found, state = rule.update(zero, rule.init(zero))
    assert found["w"].tolist() == [0, 0, 0]
    found, _ = rule.update({"w": jnp.array([3.0, 0.0, 0.0])}, state)
    assert bool(jnp.isfinite(found["w"]).all())


def bits(scores, mu=0.0):
    return np.concatenate([np.asarray(leaf) > mu for leaf in jax.tree.leaves(scores)])


@pytest.mark.parametrize("mu", [0.0, 0.25])
def test_as_many_bits_flip_as_are_due(mu):
    random = np.random.default_rng(1)
    sizes = (40, 60)
    scores = {name: jnp.asarray(random.normal(size=n), jnp.float32) for name, n in zip("ab", sizes)}
    rule = flips(0.37, momentum=0.5, mu=mu, steps_per_epoch=10)  # 3.7 a step
    before, total = bits(scores, mu), 0
    for step, after in enumerate(run(rule, course(30, sizes), scores), 1):
        after = bits(after, mu)
        total += int((before != after).sum())
        before = after
        assert total == int(3.7 * step + 1e-4), step


def test_equal_scores_cross_together_and_the_surplus_is_made_up_for():
    scores = {"w": jnp.ones(8)}
    gradients = [{"w": jnp.ones(8)}, *[{"w": jnp.zeros(8).at[0].set(-1.0)}] * 3]
    found = run(flips(1.0, momentum=0.0, steps_per_epoch=8), gradients, scores)
    assert [int((s["w"] > 0).sum()) for s in found] == [0, 0, 0, 0]


@given(st.integers(-10, 10), st.integers(-10, 10), st.integers(0, 99))
@settings(max_examples=3)
def test_no_scale_matters_to_which_bits_flip(of_scores, of_gradients, seed):
    random = np.random.default_rng(seed)
    start = {"w": jnp.asarray(random.normal(size=50), jnp.float32)}
    gradients = [{"w": random.normal(size=50).astype(np.float32)} for _ in range(5)]
    a, b = 2.0**of_scores, 2.0**of_gradients
    one = run(flips(1.0, mu=0.5, steps_per_epoch=9), gradients, start)
    other = run(
        flips(1.0, mu=0.5 * a, steps_per_epoch=9),
        [{"w": b * g["w"]} for g in gradients],
        {"w": a * start["w"]},
    )
    for s, t in zip(one, other):
        np.testing.assert_array_equal(s["w"] > 0.5, t["w"] > 0.5 * a)


def test_several_thresholds_count_all_of_their_bits():
    random = np.random.default_rng(2)
    scores = {"w": jnp.asarray(random.uniform(-2, 2, 50), jnp.float32)}
    gradients = [{"w": random.normal(size=50).astype(np.float32)} for _ in range(8)]
    rule = flips(0.5, momentum=0.9, mu=(-1.0, 1.0), steps_per_epoch=5)  # 5 a step
    level, total = np.digitize(scores["w"], (-1, 1)), 0
    for step, after in enumerate(run(rule, gradients, scores), 1):
        now = np.digitize(after["w"], (-1, 1), right=True)
        total += int(np.abs(now - level).sum())
        level = now
        assert total == 5 * step


def test_by_name_with_the_rate_and_the_schedule_as_the_share_of_an_epoch():
    rule = optimizer.optimizer(
        "flips(momentum=0.0)", optimizer.schedule("steps(epochs=(1,), factor=0.5)", 4, 2),
        rate="mask_learning_rate", steps_per_epoch=2,
    )  # fmt: skip
    random = np.random.default_rng(5)
    scores = {"w": jnp.asarray(random.normal(size=40), jnp.float32)}
    state = optimizer.set_peaks({"scores": rule.init(scores)}, {"mask_learning_rate": 0.2})
    state, counts = state["scores"], []
    for _ in range(4):
        gradient = {"w": random.normal(size=40).astype(np.float32)}
        updates, state = rule.update(gradient, state, scores)
        after = optax.apply_updates(scores, updates)
        counts.append(int(((after["w"] > 0) != (scores["w"] > 0)).sum()))
        scores = after
    assert counts == [4, 4, 2, 2]


def test_stacked_trainings_are_those_of_a_loop():
    random = np.random.default_rng(4)
    scores = {"w": jnp.asarray(random.normal(size=(2, 30)), jnp.float32)}
    gradient = {"w": jnp.asarray(random.normal(size=(2, 30)), jnp.float32)}
    losses = jnp.array([0.5, 2.0])
    for rule in (flips(0.5, steps_per_epoch=5), normalize_by_leaf(), polyak_by_leaf(most=0.1)):
        rule = optax.with_extra_args_support(rule)

        def step(g, s, loss, rule=rule):
            return rule.update(g, rule.init(s), s, value=loss)[0]

        found = jax.vmap(step)(gradient, scores, losses)
        for lane in range(2):
            lanes = (gradient, scores, losses)
            one = step(*jax.tree.map(lambda leaf, lane=lane: leaf[lane], lanes))
            np.testing.assert_allclose(found["w"][lane], one["w"], rtol=1e-6)


@pytest.mark.parametrize(
    "text", ["normalize_by_leaf(1.0)", "normalize_by_leaf(-0.1)", "polyak_by_leaf(1.0)",
             "polyak_by_leaf(most=0.0)", "flips(momentum=1.0)", "flips(mu='a')", "flips(0.1)",
             "flips, sgd"],
)  # fmt: skip
def test_what_is_refused(text):
    with pytest.raises(InputError, match=r"decay|most|momentum|mu|learning rate"):
        optimizer.optimizer(text, optimizer.schedule("constant", 1, 1))
