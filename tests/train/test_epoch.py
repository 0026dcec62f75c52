"""The compiled programs of training and evaluation, against steps in numpy."""

import chex
import jax
import jax.numpy as jnp
import linear
import numpy as np
import optax
import pytest

from jaxmask.train import epoch, feed, optimizer
from jaxmask.train.state import Sums, initial

pytestmark = pytest.mark.usefixtures("quick_compilation")

TOLERANCE = {"rtol": 1e-4, "atol": 1e-5}
IMAGES, LABELS = linear.split(12)
ORDER = np.array([[0, 5, 2, 7], [1, 3, 4, 6], [8, 11, 10, 9]], np.int32)


@pytest.fixture(scope="module")
def made():
    """Programs, and the split as they take it."""
    programs, mesh = linear.programs()
    return programs, feed.resident(IMAGES, LABELS, mesh).resident


def w(state):
    return np.asarray(state.learned["train"]["w"])


def test_a_scan_is_one_step_of_sgd_for_each_batch(made):
    programs, resident = made
    start = linear.weights()["train"]["w"]
    found = programs.train(linear.state(), linear.frozen(), resident, jnp.asarray(ORDER))
    wanted, loss, right = linear.trained(start, 2.0, IMAGES, LABELS, ORDER)
    np.testing.assert_allclose(w(found), wanted, **TOLERANCE)
    np.testing.assert_allclose(found.sums.totals["loss"], loss, rtol=1e-4)
    assert (int(found.sums.totals["accuracy"]), int(found.sums.examples)) == (right, 12)
    assert (int(found.step), int(found.batch_stats["seen"])) == (3, 12)


def test_a_step_is_the_body_of_the_scan_and_goes_on_where_the_last_one_ended(made):
    programs, resident = made
    state, current, total = linear.state(seed=3), linear.weights(3)["train"]["w"], 0.0
    for number, batch in enumerate(ORDER):
        state = programs.step(state, linear.frozen(), resident, jnp.asarray(batch))
        current, loss, _ = linear.trained(
            current, 2.0, IMAGES, LABELS, [batch], seed=3, begin=number
        )
        total += loss
        np.testing.assert_allclose(w(state), current, **TOLERANCE)
    np.testing.assert_allclose(state.sums.totals["loss"], total, rtol=1e-4)


def test_an_optimizer_that_takes_it_gets_the_mean_loss_of_the_batch(made):
    _, resident = made

    def update(gradient, state, params=None, *, value, **_):
        return jax.tree.map(lambda g: jnp.full_like(g, value), gradient), state

    told = optax.GradientTransformationExtraArgs(lambda _: optax.EmptyState(), update)
    rule, mesh = optimizer.grouped({"train": told}), feed.make_mesh()
    fetch = feed.resident(IMAGES, LABELS, mesh).fetch
    programs = epoch.programs(linear.problem(), rule, fetch, mesh)
    before = linear.weights(3)
    state = initial(before, {"seen": jnp.int32(0)}, rule, jax.random.key(3))
    found = programs.step(state, linear.frozen(), resident, jnp.asarray(ORDER[0]))
    _, total, _ = linear.trained(before["train"]["w"], 2.0, IMAGES, LABELS, ORDER[:1], seed=3)
    moved = w(found) - before["train"]["w"]
    np.testing.assert_allclose(moved, total / len(ORDER[0]), rtol=1e-3)


def test_an_evaluation_counts_each_valid_example_once_and_draws_nothing(made):
    programs, resident = made
    learned, factor = linear.weights(1), linear.frozen(1.5)
    order, valid = feed.complete_order(11, 4)
    found = programs.evaluate(learned, {"seen": jnp.int32(0)}, factor, resident, (order, valid))
    each, right = linear.losses(learned["train"]["w"], 1.5, IMAGES[:11], LABELS[:11])
    np.testing.assert_allclose(found.totals["loss"], each.sum(), rtol=1e-4)
    assert (int(found.totals["accuracy"]), int(found.examples)) == (right.sum(), 11)


def test_the_kept_weights_are_counted_by_leaf_and_their_bits_without_computing(made):
    programs, _ = made
    learned = linear.weights(2)
    chex.assert_trees_all_equal(
        programs.kept(learned, linear.frozen()),
        {"w": jnp.int32((learned["train"]["w"] > 0).sum()), "hole": None},
    )
    assert programs.bits(learned, linear.frozen()) == 4 * 3
    shapes = jax.eval_shape(lambda: learned)
    assert programs.bits(shapes, linear.frozen()) == 12


def test_several_runs_as_one_program_are_each_what_it_is_alone(made):
    programs, resident = made
    factors, seeds = (1.0, 2.0), (0, 1)
    orders = [ORDER, ORDER[::-1]]
    stacked = jax.tree.map(lambda *x: jnp.stack(x), *(linear.state(seed) for seed in seeds))
    frozen = {"factor": jnp.array(factors)}
    residents = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), resident)
    found = programs.train_together(stacked, frozen, residents, jnp.stack(orders))
    chex.assert_shape(jax.tree.leaves(found.sums), (2,))
    for index, (seed, factor, order) in enumerate(zip(seeds, factors, orders)):
        start = linear.weights(seed)["train"]["w"]
        wanted, loss, _ = linear.trained(start, factor, IMAGES, LABELS, order, seed=seed)
        np.testing.assert_allclose(w(found)[index], wanted, **TOLERANCE)
        np.testing.assert_allclose(found.sums.totals["loss"][index], loss, rtol=1e-4)
    again = jax.tree.map(lambda *x: jnp.stack(x), *(linear.state(seed) for seed in seeds))
    shared = programs.train_together(again, frozen, resident, jnp.stack(orders), shared=True)
    np.testing.assert_allclose(w(shared), w(found), **TOLERANCE)
    batches = feed.complete_order(11, 4)
    sums = programs.evaluate_together(
        found.learned, found.batch_stats, frozen, residents,
        tuple(jnp.stack([part, part]) for part in batches),
    )  # fmt: skip
    for index, factor in enumerate(factors):
        each, right = linear.losses(w(found)[index], factor, IMAGES[:11], LABELS[:11])
        np.testing.assert_allclose(sums.totals["loss"][index], each.sum(), rtol=1e-4)
        assert int(sums.totals["accuracy"][index]) == right.sum()


def test_another_seed_and_other_weights_compile_nothing():
    problem = linear.problem()
    counted = problem._replace(objective=chex.assert_max_traces(problem.objective, n=1))
    mesh = feed.make_mesh()
    split = feed.resident(IMAGES, LABELS, mesh)
    programs = epoch.programs(counted, optax.sgd(linear.RATE), split.fetch, mesh)
    for seed, factor, order in ((0, 1.0, ORDER), (1, 2.0, ORDER[::-1])):
        programs.train(linear.state(seed), linear.frozen(factor), split.resident, order)


def test_the_means_of_nothing_are_zero():
    assert Sums.zero().means() == {"loss": 0.0, "accuracy": 0.0}
