"""Runs trained together under vmap, against the same runs one after the other."""

import chex
import jax
import numpy as np
import problems
import pytest

from jaxmask.errors import Interrupted
from jaxmask.train import loop
from jaxmask.train.records import read_records

TOLERANCE = {"rtol": 1e-3, "atol": 1e-4}


@pytest.fixture(scope="module")
def made():
    """Programs, and a function that makes the job of one seed."""
    return problems.jobs()


def fit_alone(made, folder, seeds, **changes):
    programs, job = made
    return [loop.fit(programs, job(seed, folder / f"{seed}", **changes)) for seed in seeds]


def same(one, other):
    chex.assert_trees_all_close(one.learned, other.learned, **TOLERANCE)
    chex.assert_trees_all_close(one.batch_stats, other.batch_stats, **TOLERANCE)
    assert (one.epoch, one.steps, one.stopped_early) == (other.epoch, other.steps,
                                                         other.stopped_early)  # fmt: skip
    assert one.validation["accuracy"] == pytest.approx(other.validation["accuracy"], abs=0.03)


def test_together_gives_what_one_after_the_other_gives(made, tmp_path):
    programs, job = made
    alone = fit_alone(made, tmp_path / "alone", (0, 1, 2))
    together = loop.fit_together(programs, [job(seed, tmp_path / f"{seed}") for seed in (0, 1, 2)])
    for one, other in zip(alone, together):
        same(one, other)
    kernels = [jax.tree.leaves(fit.learned)[0] for fit in together]
    assert not np.allclose(kernels[0], kernels[1])
    for seed in (0, 1, 2):
        ours, theirs = (read_records(tmp_path / at / f"{seed}") for at in (".", "alone"))
        assert [(r["step"], r["split"]) for r in ours] == [(r["step"], r["split"]) for r in theirs]


def test_a_run_that_ends_early_waits_for_the_others_and_is_not_changed(made, tmp_path):
    programs, job = made
    rates = {0: 0.05, 1: 3.0}  # the second soon stops improving
    changes = {"epochs": 5, "patience": 1}
    alone = [
        loop.fit(programs, job(seed, tmp_path / "alone" / f"{seed}", rate=rate, **changes))
        for seed, rate in rates.items()
    ]
    jobs = [job(seed, tmp_path / f"{seed}", rate=rate, **changes) for seed, rate in rates.items()]
    together = loop.fit_together(programs, jobs)
    assert len({fit.steps for fit in alone}) == 2
    for one, other in zip(alone, together):
        same(one, other)


def test_runs_stopped_together_resume_alone(made, tmp_path, monkeypatch):
    programs, job = made
    whole = loop.fit_together(programs, [job(seed, tmp_path / f"w{seed}") for seed in (0, 1)])
    judged, pause = [], loop._pause

    def stop(session):
        judged.append(1)
        pause(session)
        if len(judged) == 3:
            raise Interrupted(15)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "_pause", stop)
        with pytest.raises(Interrupted):
            loop.fit_together(
                programs,
                [job(seed, tmp_path / f"{seed}", checkpoint_seconds=0.0) for seed in (0, 1)],
            )
    again = [loop.fit(programs, job(seed, tmp_path / f"{seed}")) for seed in (0, 1)]
    for one, other in zip(whole, again):
        same(one, other)


def test_the_state_at_a_step_is_passed_on_for_every_run(made, tmp_path):
    programs, job = made
    kept = {}

    def keep(name):
        return loop.Keep(5, lambda state: kept.update({name: jax.device_get(state.learned)}))

    for seed in (0, 1):
        alone = job(seed, tmp_path / "alone" / f"{seed}")._replace(keep=keep(f"alone {seed}"))
        loop.fit(programs, alone)
    jobs = [job(seed, tmp_path / f"{seed}")._replace(keep=keep(f"{seed}")) for seed in (0, 1)]
    loop.fit_together(programs, jobs)
    for seed in (0, 1):
        chex.assert_trees_all_close(kept[f"alone {seed}"], kept[f"{seed}"], **TOLERANCE)


def test_an_ended_run_passes_on_no_later_state(made, tmp_path):
    programs, job = made
    kept = []
    rates = {0: 0.05, 1: 3.0}
    alone = [
        loop.fit(programs, job(seed, tmp_path / "a" / f"{seed}", rate=rate, epochs=5, patience=1))
        for seed, rate in rates.items()
    ]
    early, late = sorted(fit.steps for fit in alone)
    assert early < late
    jobs = [
        job(seed, tmp_path / f"{seed}", rate=rate, epochs=5, patience=1)._replace(
            keep=loop.Keep(early + 1, lambda state, seed=seed: kept.append(seed))
        )
        for seed, rate in rates.items()
    ]
    loop.fit_together(programs, jobs)
    assert kept == [max(rates, key=lambda seed: alone[seed].steps)]
