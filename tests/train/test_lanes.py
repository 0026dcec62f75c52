"""Runs side by side: each is what it is alone, against numpy."""

import chex
import jax
import jax.numpy as jnp
import linear
import numpy as np
import pytest

from jaxmask.train import feed
from jaxmask.train.job import Job, Settings
from jaxmask.train.lanes import Lanes

pytestmark = pytest.mark.usefixtures("quick_compilation")

SETTINGS = Settings(2, 4, 5, 0, "last", 1e9, 3, 0)
ORDERS = {0: np.array([[0, 1, 2, 3], [4, 5, 6, 7]]), 1: np.array([[7, 6, 5, 4], [3, 2, 1, 0]])}
FACTORS = {0: 1.0, 1: 2.0}


@pytest.fixture(scope="module")
def made():
    return linear.programs()


def lanes(made, seeds, held_out=7):
    programs, mesh = made
    jobs = [
        Job(
            linear.state(seed), linear.frozen(FACTORS[seed]),
            feed.resident(*linear.split(8, seed), mesh),
            feed.resident(*linear.split(held_out, 10 + seed), mesh) if held_out else None,
            SETTINGS, None,
        )
        for seed in seeds
    ]  # fmt: skip
    return Lanes(programs, jobs, [job.state for job in jobs])


def scanned(made, seeds):
    found = lanes(made, seeds)
    orders = [jnp.asarray(ORDERS[seed], jnp.int32) for seed in seeds]
    found.scan(orders[0] if len(seeds) == 1 else jnp.stack(orders))
    return found


def wanted(seed):
    start = linear.weights(seed)["train"]["w"]
    return linear.trained(start, FACTORS[seed], *linear.split(8, seed), ORDERS[seed], seed)


@pytest.mark.parametrize("seeds", [(0,), (1,), (0, 1)])
def test_each_run_trains_on_its_own_data_from_its_own_state(made, seeds):
    found = scanned(made, seeds)
    step, means = found.read()
    assert step == 2
    for index, seed in enumerate(seeds):
        weights, loss, right = wanted(seed)
        state = found.one(index)
        np.testing.assert_allclose(state.learned["train"]["w"], weights, rtol=1e-4, atol=1e-5)
        assert means[index]["loss"] == pytest.approx(loss / 8, rel=1e-4)
        assert means[index]["accuracy"] == right / 8
        assert (state.step.shape, int(state.step)) == ((), 2)
        share = (np.asarray(state.learned["train"]["w"]) > 0).mean()
        assert found.density(index) == pytest.approx(share)


@pytest.mark.parametrize("seeds", [(0,), (0, 1)])
def test_each_run_is_evaluated_on_its_own_split(made, seeds):
    found, waits = lanes(made, seeds), []
    means = found.evaluate(waits.append)
    for index, seed in enumerate(seeds):
        w = linear.weights(seed)["train"]["w"]
        each, right = linear.losses(w, FACTORS[seed], *linear.split(7, 10 + seed))
        assert means[index]["loss"] == pytest.approx(each.mean(), rel=1e-4)
        assert means[index]["accuracy"] == pytest.approx(right.mean())
    assert waits


def test_without_a_validation_split_there_is_nothing_to_tell(made):
    assert lanes(made, (0, 1), held_out=0).evaluate(lambda seconds: None) == [{}, {}]


@pytest.mark.parametrize("seeds", [(0,), (0, 1)])
def test_an_epoch_begins_with_sums_of_zero_and_the_weights_stay(made, seeds):
    found = scanned(made, seeds)
    before = jax.device_get(found.state.learned)
    found.begin_epoch()
    assert found.read() == (2, [{"loss": 0.0, "accuracy": 0.0}] * len(seeds))
    chex.assert_trees_all_equal(jax.device_get(found.state.learned), before)


def test_data_that_lies_on_the_device_is_not_streamed(made):
    assert not lanes(made, (0,)).streams
    programs, mesh = made

    class Split:
        images, labels = linear.split(8)

    streamed = feed.streamed(Split, None, mesh)
    job = Job(linear.state(), linear.frozen(), streamed, None, SETTINGS, None)
    assert Lanes(programs, [job], [job.state]).streams


def test_a_run_without_masks_has_no_density(made):
    programs = made[0]._replace(bits=lambda learned, frozen: 0)
    assert lanes((programs, made[1]), (0,)).density(0) is None
