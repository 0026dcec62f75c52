"""Experiments that ask for training, driven alone and side by side; nothing is trained here."""

from typing import Any, NamedTuple

import numpy as np
import pytest

from jaxmask.errors import InputError
from jaxmask.run import driver
from jaxmask.run.result import Result
from jaxmask.run.trainer import Training
from jaxmask.train import loop

PROGRAMS = [object(), object()]


class Feed(NamedTuple):
    examples: int


def job(name, *, shape=3, train=20, held_out=5, keep=None, **changes):
    settings = {
        "epochs": 1, "batch_size": 4, "evaluation_batch": 4, "patience": 0, "select": "loss",
        "checkpoint_seconds": 1.0, "scan_steps": 1, "seed": sum(map(ord, name)),
    }  # fmt: skip
    return loop.Job(
        state={"w": np.zeros(shape)}, frozen={}, train=Feed(train),
        validation=Feed(held_out) if held_out else None,
        settings=loop.Settings(**{**settings, **changes}), folder=name, keep=keep,
    )  # fmt: skip


def result(name, fits):
    return Result("dense", name, "made", 0, None, None, 0, 0, 0.0, more={"fits": fits})


def experiment(name, *wanted, ends_by=None):
    """Asks for these trainings one after the other; its result has the fits that it was sent."""
    fits = []
    for programs, made in wanted:
        fits.append((yield Training(PROGRAMS[programs], made)))
    if ends_by is not None:
        raise ends_by
    return result(name, fits)


@pytest.fixture
def trained(monkeypatch):
    """The folders of the jobs that were trained together, in order; their fits name them."""
    calls: list[Any] = []

    def fit_together(programs, jobs):
        calls.append([job.folder for job in jobs])
        return [f"fit of {job.folder}" for job in jobs]

    monkeypatch.setattr(loop, "fit_together", fit_together)
    monkeypatch.setattr(loop, "fit", lambda programs, job: fit_together(programs, [job])[0])
    return calls


def test_alone_every_training_is_done_in_turn(trained):
    found = driver.alone(experiment("a", (0, job("one")), (1, job("two"))))
    assert found == result("a", ["fit of one", "fit of two"])
    assert trained == [["one"], ["two"]]


def together(name, *jobs):
    """An experiment that asks for trainings side by side."""
    return result(name, (yield [Training(PROGRAMS[programs], made) for programs, made in jobs]))


def test_a_list_of_trainings_is_answered_by_their_fits(trained):
    found = driver.alone(together("a", (0, job("one")), (1, job("two")), (0, job("three"))))
    assert found == result("a", ["fit of one", "fit of two", "fit of three"])
    assert trained == [["one", "three"], ["two"]]


def test_lists_of_several_experiments_are_trained_as_one(trained):
    found = driver.together(
        [together("a", (0, job("a1")), (0, job("a2"))), experiment("b", (0, job("b")))]
    )
    assert trained == [["a1", "a2", "b"]]
    assert found == [result("a", ["fit of a1", "fit of a2"]), result("b", ["fit of b"])]


def test_alone_an_experiment_without_training_has_a_result(trained):
    assert driver.alone(experiment("a")) == result("a", [])
    assert trained == []


def test_trainings_that_are_alike_are_done_as_one(trained):
    found = driver.together(
        [experiment("a", (0, job("a1")), (0, job("a2"))), experiment("b"),
         experiment("c", (0, job("c1")), (0, job("c2")))]
    )  # fmt: skip
    assert trained == [["a1", "c1"], ["a2", "c2"]]
    assert found == [
        result("a", ["fit of a1", "fit of a2"]), result("b", []),
        result("c", ["fit of c1", "fit of c2"]),
    ]  # fmt: skip


def test_each_is_sent_its_own_fit_where_one_needs_fewer(trained):
    found = driver.together(
        [experiment("a", (0, job("a1"))), experiment("b", (0, job("b1")), (0, job("b2")))]
    )
    assert trained == [["a1", "b1"], ["b2"]]
    assert [each.more["fits"] for each in found] == [["fit of a1"], ["fit of b1", "fit of b2"]]


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        ({}, {}, True),
        ({}, {"shape": 4}, False),
        ({}, {"train": 24}, False),
        ({}, {"held_out": 6}, False),
        ({}, {"held_out": 0}, False),
        ({}, {"epochs": 2}, False),
        ({}, {"keep": loop.Keep(3, print)}, False),
        ({"keep": loop.Keep(3, repr)}, {"keep": loop.Keep(3, print)}, True),
        ({"seed": 1}, {"seed": 2}, True),
    ],
)
def test_only_the_seed_may_differ_and_what_is_done_with_a_kept_state(trained, one, other, alike):
    driver.together(
        [experiment("a", (0, job("a", **one))), experiment("b", (0, job("b", **other)))]
    )
    assert trained == ([["a", "b"]] if alike else [["a"], ["b"]])


def test_trainings_of_other_programs_are_done_apart(trained):
    driver.together([experiment("a", (0, job("a"))), experiment("b", (1, job("b")))])
    assert trained == [["a"], ["b"]]


def test_an_input_error_ends_one_experiment_and_the_others_go_on(trained):
    fault = InputError("a is at fault")
    found = driver.together(
        [experiment("a", ends_by=fault), experiment("b", (0, job("b1")), ends_by=fault),
         experiment("c", (0, job("c1")))]
    )  # fmt: skip
    assert found == [fault, fault, result("c", ["fit of c1"])]


def test_any_other_error_ends_all(trained):
    with pytest.raises(ZeroDivisionError):
        driver.together([experiment("a", ends_by=ZeroDivisionError()), experiment("b")])
