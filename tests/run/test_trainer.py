"""A training section as a trainer: its numbers, its programs, its test of a split."""

import math

import chex
import jax
import numpy as np
import pytest
import small

from jaxmask import adapter
from jaxmask.errors import InputError
from jaxmask.model import initialize
from jaxmask.run import trainer
from jaxmask.run.trainer import Ready, make_trainer
from jaxmask.train import loop, optimizer

CONFIG = small.config("dense")


@pytest.fixture(scope="module")
def task():
    return small.task(CONFIG)


def section(**changes):
    made = CONFIG.train.copy_and_resolve_references()
    made.update(changes)
    return made


def made(task, identity="weights", seed=0, **changes):
    return make_trainer(task, section(**changes), adapter.weights(), seed, "train", identity)


def ready(task):
    variables = initialize(task.module, jax.random.key(0), task.image_shape)
    learned, frozen = adapter.weights().init(None, variables["params"])
    return Ready(learned, frozen, variables["batch_stats"])


def test_a_trained_network_is_tested_on_every_example_of_the_split(task, tmp_path):
    """40 examples in batches of 16, against numpy."""
    found = made(task, evaluation_batch=16, learning_rate=0.05, epochs=3)
    begun = ready(task)
    training = found.job(begun, {}, "dense", tmp_path, "title")
    fit = loop.fit(training.programs, training.job)
    assert (found.steps_per_epoch, fit.steps) == (6, 18)
    told = found.test(fit, begun.frozen)
    split = task.dataset.test
    logits = small.logits(fit.learned["train"], split.images)
    logs = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    assert told["accuracy"] == (logits.argmax(1) == split.labels).mean() > 0.5
    assert told["loss"] == pytest.approx(-logs[np.arange(40), split.labels].mean(), rel=1e-4)


def test_settings_come_from_the_section_and_the_order_from_the_seed_and_name(task, tmp_path):
    changes = {"epochs": 7, "patience": 2, "select": "loss", "scan_steps": 3,
               "checkpoint_seconds": 5.0, "evaluation_batch": 20}  # fmt: skip
    jobs = [
        made(task, seed=seed, **changes).job(ready(task), {}, name, tmp_path, "title").job
        for seed, name in ((0, "a"), (0, "b"), (1, "a"), (0, "a"))
    ]
    settings = jobs[0].settings
    assert settings == loop.Settings(7, 16, 20, 2, "loss", 5.0, 3, settings.seed)
    seeds = [job.settings.seed for job in jobs]
    assert len(set(seeds[:3])) == 3
    assert seeds[3] == seeds[0]
    keys = [np.asarray(job.state.key).tobytes() for job in jobs]
    assert len(set(keys[:3])) == 3
    assert keys[3] == keys[0]
    chex.assert_trees_all_equal(jobs[0].state.learned, ready(task).learned)


def test_rates_of_a_run_take_the_place_of_the_sections(task):
    found = made(task, learning_rate=0.25)
    for rates, wanted in (({}, 0.25), ({"learning_rate": 0.5}, 0.5)):
        state = found.state(ready(task), rates, "dense")
        peaks = state.optimizer["train"].hyperparams
        assert float(peaks["learning_rate"]) == wanted
    assert optimizer.rates(state.optimizer) == {"learning_rate"}
    with pytest.raises(InputError, match=r"train: no optimizer .* takes 'mask_learning_rate'"):
        found.state(ready(task), {"mask_learning_rate": 1.0}, "dense")


def test_trainers_that_differ_in_rates_and_seeds_share_their_programs(task, tmp_path):
    def programs(found):
        return found.job(ready(task), {}, "a", tmp_path, "title").programs

    one = programs(made(task))
    assert programs(made(task, seed=3, learning_rate=0.7)) is one
    assert programs(made(task, identity="others")) is not one
    assert programs(made(task, optimizer="adam")) is not one
    assert programs(made(task, epochs=3)) is not one  # the schedule's length


def test_a_job_without_validation_has_no_feed_of_it(tmp_path):
    without = small.task(CONFIG, validation=0)
    assert made(without).job(ready(without), {}, "a", tmp_path, "title").job.validation is None
    with pytest.raises(InputError, match=r"train\.patience needs validation data"):
        made(without, patience=1)


@pytest.mark.parametrize(("most", "examples"), [(16, 40), (64, 40), (512, 0), (1, 7)])
def test_an_evaluation_batch_divides_by_the_devices_and_is_no_larger_than_needed(
    task, most, examples
):
    devices = jax.device_count()
    wanted = devices * math.ceil(min(most, max(examples, 1)) / devices)
    assert trainer.evaluation_batch(task, section(evaluation_batch=most), examples) == wanted


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 0}, r"train\.epochs has 0"),
        ({"epochs": 10**9}, r"6000000000 steps; give fewer than 2\^31"),
        ({"schedule": "steps(epochs=(2, 1))"}, "give epochs that grow"),
        ({"batch_size": 0}, r"train\.batch_size has 0"),
        ({"batch_size": 97}, "more than the 96 training examples"),
        ({"evaluation_batch": 0}, r"train\.evaluation_batch"),
        ({"patience": -1}, r"train\.patience"),
        ({"clip": -0.5}, r"train\.clip"),
        ({"clip": float("nan")}, r"train\.clip"),
        ({"checkpoint_seconds": -1.0}, r"train\.checkpoint_seconds"),
        ({"scan_steps": -1}, r"train\.scan_steps"),
        ({"learning_rate": float("inf")}, r"train\.learning_rate"),
        ({"mask_learning_rate": -1.0}, r"train\.mask_learning_rate"),
        ({"label_smoothing": -0.1}, r"train\.label_smoothing"),
        ({"label_smoothing": 1.0}, "must be below 1"),
        ({"select": "best"}, r"train\.select is 'best'"),
        ({"schedule": "cosine(warmup_epochs=2)"}, "leaves none"),
        ({"optimizer": "sgb"}, "'sgd'"),
    ],
)
def test_numbers_that_cannot_be_used_are_told_with_their_field(task, changes, message):
    with pytest.raises(InputError, match=message):
        made(task, **changes)
