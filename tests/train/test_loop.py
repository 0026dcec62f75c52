import os
import signal
import subprocess
import sys
from pathlib import Path

import chex
import jax
import numpy as np
import problems
import pytest

from jaxmask.errors import InputError, Interrupted
from jaxmask.train import checkpoint, evaluation, loop
from jaxmask.train.records import read_records

TOLERANCE = {"rtol": 2e-4, "atol": 2e-5}


def learned(fit):
    return fit.learned, fit.batch_stats


def test_training_learns_moves_masks_and_records_every_epoch(tmp_path):
    fit = problems.fit(tmp_path, epochs=6, steps_of_schedule=54)
    assert fit.validation["accuracy"] > 0.9
    assert fit.steps == 6 * (150 // 16)
    scores = np.concatenate([leaf.ravel() for leaf in jax.tree.leaves(fit.learned["scores"])])
    assert (scores <= 0).any()
    assert (scores > 0).any()
    records = read_records(tmp_path)
    assert [line["epoch"] for line in records if line["split"] == "train"] == [1, 2, 3, 4, 5, 6]
    assert 0 < records[-2]["density"] < 1


def test_the_kept_epoch_is_the_best_by_validation(tmp_path):
    fit = problems.fit(tmp_path, rate=2.0)
    lines = [line for line in read_records(tmp_path) if line["split"] == "validation"]
    best = max(lines, key=lambda line: (line["accuracy"], -line["loss"]))
    assert (fit.epoch, fit.validation["loss"]) == (best["epoch"], best["loss"])


def test_streamed_batches_give_what_resident_ones_give(tmp_path):
    resident = problems.fit(tmp_path / "a")
    streamed = problems.fit(tmp_path / "b", how="streamed")
    chex.assert_trees_all_close(learned(resident), learned(streamed), rtol=1e-6, atol=1e-6)


def test_the_time_that_the_device_waited_is_summed_up(tmp_path, monkeypatch):
    """With waits of a quarter of a second each, whatever the clock says."""

    def ahead(chunks, wait):
        for chunk in chunks:
            wait(0.25)
            yield chunk

    monkeypatch.setattr(loop, "ahead", ahead)
    monkeypatch.setattr(evaluation, "ahead", ahead)
    fit = problems.fit(tmp_path / "streamed", how="streamed")
    pieces = 3 * (3 + 1)  # epochs, scans of training and of validation
    assert fit.waited * fit.seconds == pytest.approx(0.25 * pieces)
    lines = [line for line in read_records(tmp_path / "streamed") if line["split"] == "train"]
    assert [line["waited"] > 0 for line in lines] == [True] * 3
    again = problems.fit(tmp_path / "streamed", how="streamed")
    assert (again.waited, again.seconds) == (fit.waited, fit.seconds)
    problems.fit(tmp_path / "resident")
    assert all("waited" not in line for line in read_records(tmp_path / "resident"))


def test_the_scan_length_changes_nothing(tmp_path):
    whole = problems.fit(tmp_path / "a", scan_steps=9)
    pieces = problems.fit(tmp_path / "b", scan_steps=2)
    chex.assert_trees_all_equal(learned(whole), learned(pieces))


class StopError(Exception):
    pass


@pytest.mark.parametrize("at", [1, 4, 6, 8])
def test_a_killed_run_resumes_bit_for_bit(tmp_path, monkeypatch, at):
    whole = problems.fit(tmp_path / "whole", checkpoint_seconds=0)
    real, scans = problems.feed.resident, []

    def dying(*arguments):
        made = real(*arguments)

        def chunks(order, lengths):
            for xs in made.chunks(order, lengths):
                scans.append(1)
                if len(scans) > at and made.examples == 150:
                    raise StopError
                yield xs

        return made._replace(chunks=chunks)

    monkeypatch.setattr(problems.feed, "resident", dying)
    with pytest.raises(StopError):
        problems.fit(tmp_path / "died", checkpoint_seconds=0)
    monkeypatch.setattr(problems.feed, "resident", real)
    resumed = problems.fit(tmp_path / "died", checkpoint_seconds=0)
    chex.assert_trees_all_equal(learned(whole), learned(resumed))
    assert resumed.epoch == whole.epoch
    assert read_records(tmp_path / "died") == read_records(tmp_path / "whole")


def test_early_stopping_ends_a_run_and_survives_resuming(tmp_path):
    fit = problems.fit(tmp_path, epochs=40, patience=2, rate=3.0)
    assert fit.stopped_early
    assert fit.steps < 40 * 9
    again = problems.fit(tmp_path, epochs=40, patience=2, rate=3.0)
    chex.assert_trees_all_equal(learned(fit), learned(again))
    assert (again.steps, again.stopped_early) == (fit.steps, True)


def test_a_loss_that_is_not_finite_ends_the_run(tmp_path):
    fit = problems.fit(tmp_path, rate=float("inf"))
    assert fit.diverged
    assert fit.steps == 9


@pytest.mark.parametrize(
    ("scan_steps", "at"), [(4, at) for at in range(12)] + [(9, at) for at in range(6)]
)
def test_a_signal_stops_and_the_same_call_resumes_exactly(tmp_path, monkeypatch, at, scan_steps):
    """The signal arrives in any scan, of training or of validation."""
    whole = problems.fit(tmp_path / "whole", scan_steps=scan_steps)
    real, scans = problems.feed.resident, []

    def signalling(*arguments):
        made = real(*arguments)

        def chunks(order, lengths):
            for xs in made.chunks(order, lengths):
                if len(scans) == at:
                    os.kill(os.getpid(), signal.SIGTERM)
                scans.append(1)
                yield xs

        return made._replace(chunks=chunks)

    monkeypatch.setattr(problems.feed, "resident", signalling)
    with pytest.raises(Interrupted) as interrupted:
        problems.fit(tmp_path / "run", scan_steps=scan_steps)
    assert interrupted.value.number == signal.SIGTERM
    again = problems.fit(tmp_path / "run", scan_steps=scan_steps)
    chex.assert_trees_all_equal(learned(whole), learned(again))
    assert again.epoch == whole.epoch
    assert read_records(tmp_path / "run") == read_records(tmp_path / "whole")


def test_a_checkpoint_of_another_network_is_refused(tmp_path):
    problems.fit(tmp_path)
    with pytest.raises(InputError, match="cannot be read"):
        problems.fit(tmp_path, width=9)


EIGHT = """
import sys
sys.path.insert(0, {here!r})
import jax, numpy as np, problems
assert jax.device_count() == 8
folder = __import__("pathlib").Path({folder!r})
fit = problems.fit(folder, train=170, epochs=2, steps_of_schedule=20)
leaves = jax.tree.leaves((fit.learned, fit.batch_stats))
np.savez({out!r}, *leaves, accuracy=fit.validation["accuracy"], loss=fit.validation["loss"])
"""


def on_eight_devices(script, folder):
    """What a script saves, run in a process with eight devices."""
    out = str(folder / "eight.npz")
    here = str(Path(problems.__file__).parent)
    script = script.format(here=here, folder=str(folder / "eight"), out=out)
    flags = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
    subprocess.run(
        [sys.executable, "-c", script], check=True, env={**os.environ, "XLA_FLAGS": flags}
    )
    return np.load(out)


def test_eight_devices_give_what_one_gives(tmp_path):
    """20 steps with batch norm; 170 and 50 examples are not multiples of the batch or of eight."""
    eight = on_eight_devices(EIGHT, tmp_path)
    one = problems.fit(tmp_path / "one", train=170, epochs=2, steps_of_schedule=20)
    for index, leaf in enumerate(jax.tree.leaves((one.learned, one.batch_stats))):
        np.testing.assert_allclose(eight[f"arr_{index}"], leaf, **TOLERANCE)
    # rounding may decide about one of 50
    assert eight["accuracy"] == pytest.approx(one.validation["accuracy"], abs=0.021)
    np.testing.assert_allclose(eight["loss"], one.validation["loss"], rtol=1e-4)


SPLIT = """
import sys
sys.path.insert(0, {here!r})
import jax, numpy as np, problems
programs, job = problems.jobs(train=170, steps_of_schedule=20, width=2048, devices=4)
seen = []
def look(state):
    shapes = jax.tree.map(lambda x: (x.shape, x.addressable_shards[0].data.shape), state.learned)
    seen.append(shapes["scores"]["Conv_0"]["kernel"])
    return {{}}
from jaxmask.train import loop
watch = loop.Watch(1, look, lambda means: "")
from pathlib import Path
made = job(0, Path({folder!r}), epochs=2)._replace(watch=watch)
fit = loop.fit(programs, made)
assert seen == [((3, 3, 1, 2048), (3, 3, 1, 512))] * 2, seen
fit = loop.fit(programs, job(0, Path({folder!r}), epochs=2))  # from its checkpoint
leaves = jax.tree.leaves((fit.learned, fit.batch_stats))
np.savez({out!r}, *leaves, accuracy=fit.validation["accuracy"], loss=fit.validation["loss"])
"""


def test_weights_split_among_devices_learn_what_whole_ones_do(tmp_path):
    """Two groups of four devices: each has a quarter of every large leaf, before and after."""
    split = on_eight_devices(SPLIT, tmp_path)
    one = problems.fit(tmp_path / "one", train=170, epochs=2, steps_of_schedule=20, width=2048)
    for index, leaf in enumerate(jax.tree.leaves((one.learned, one.batch_stats))):
        np.testing.assert_allclose(split[f"arr_{index}"], leaf, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(split["loss"], one.validation["loss"], rtol=1e-3)


def test_a_full_disk_loses_nothing(tmp_path, monkeypatch):
    whole = problems.fit(tmp_path / "whole", checkpoint_seconds=0)
    usage, calls = checkpoint.shutil.disk_usage, []

    def filling(folder):
        calls.append(folder)
        return usage(folder)._replace(free=10**9 if len(calls) < 4 else 10**5)

    monkeypatch.setattr(checkpoint.shutil, "disk_usage", filling)
    with pytest.raises(OSError, match="No space left"):
        problems.fit(tmp_path / "full", checkpoint_seconds=0)
    monkeypatch.setattr(checkpoint.shutil, "disk_usage", usage)
    resumed = problems.fit(tmp_path / "full", checkpoint_seconds=0)
    chex.assert_trees_all_equal(learned(whole), learned(resumed))


def watch(every, seen, fault=lambda means: ""):
    def measure(state):
        seen.append(int(state.step))
        return {"seen": len(seen)}

    return loop.Watch(every, measure, fault)


@pytest.mark.parametrize(("every", "steps"), [(1, [9, 18, 27, 36]), (3, [27, 36]), (9, [36])])
def test_what_is_watched_is_measured_every_few_epochs_and_at_the_end(every, steps, tmp_path):
    programs, job = problems.jobs()
    made, seen = job(0, tmp_path, epochs=4), []
    fit = loop.fit(programs, made._replace(watch=watch(every, seen)))
    assert seen == steps
    records = [line for line in read_records(tmp_path) if line["split"] == "watched"]
    assert [line["step"] for line in records] == steps
    assert [line["seen"] for line in records] == list(range(1, len(steps) + 1))
    assert fit.watched == {"seen": len(steps)}
    assert fit.fault == ""


def test_a_fault_ends_training_and_is_told_again(tmp_path):
    programs, job = problems.jobs()
    losses = []

    def fault(means):
        losses.append(means["loss"])
        assert means["seen"] == len(losses)  # what was measured after the epoch, too
        return "it is bad" if len(losses) == 2 else ""

    def train():
        return loop.fit(programs, job(0, tmp_path, epochs=5)._replace(watch=watch(1, [], fault)))

    fit = train()
    assert (fit.fault, fit.steps) == ("it is bad", 18)
    assert not fit.diverged
    assert not fit.stopped_early
    told = [line["loss"] for line in read_records(tmp_path) if line["split"] == "train"]
    np.testing.assert_allclose(losses, told)
    again = train()  # the run has ended
    assert (again.fault, again.steps, len(losses)) == ("it is bad", 18, 2)
    assert again.watched == fit.watched == {"seen": 2}
