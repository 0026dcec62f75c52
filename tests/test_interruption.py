"""Killed, stopped and finished runs, through the command line, on real digits."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from jaxmask.cli.run import main

EPOCHS = 20
STEPS = EPOCHS * 8  # 538 training images in batches of 64
COMMAND = (
    sys.executable, "-m", "jaxmask.main", "--config=digits", "--config.start=random",
    "--config.methods=('mask',)", "--config.mask.choices=(20.0,)", "--config.network.width=0.125",
    f"--config.mask.train.epochs={EPOCHS}", "--config.mask.train.checkpoint_seconds=0",
)  # fmt: skip
DEADLINE = 120


def start(folder):
    return subprocess.Popen(
        [*COMMAND, f"--workdir={folder}"], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL,
        text=True, env={**os.environ, "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"},
    )  # fmt: skip


def finish(folder):
    process = start(folder)
    _, errors = process.communicate(timeout=DEADLINE)
    return process.returncode, errors


def checkpointed(folder):
    """The step of the newest complete checkpoint."""
    steps = [int(path.name) for path in (folder / "mask" / "checkpoints").glob("[0-9]*")
             if path.name.isdigit()]  # fmt: skip
    return max(steps, default=0)


def saving(folder):
    return any((folder / "mask" / "checkpoints").glob("*.orbax-checkpoint-tmp"))


def wait(process, condition):
    end = time.monotonic() + DEADLINE
    while not condition():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < end
        time.sleep(0.001)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The run directory of an uninterrupted run."""
    folder = tmp_path_factory.mktemp("whole")
    status, errors = finish(folder)
    assert status == 0, errors
    return folder


def test_three_kills_leave_the_mask_file_of_an_uninterrupted_run(tmp_path, whole):
    before = 0
    for share in (0.2, 0.45, 0.7):
        process = start(tmp_path)
        wait(process, lambda share=share: checkpointed(tmp_path) >= share * STEPS)
        if share == 0.45:
            wait(process, lambda: saving(tmp_path))
        process.kill()
        process.communicate()
        assert before < checkpointed(tmp_path) < STEPS, (
            "it died behind a checkpoint, before its end"
        )
        before = checkpointed(tmp_path)
        assert not (tmp_path / "mask" / "result.json").exists()
        assert not list(tmp_path.glob("**/*.mask"))
    status, errors = finish(tmp_path)
    assert status == 0, errors
    mine, theirs = (
        (folder / "mask" / "masks" / "task.mask").read_bytes() for folder in (tmp_path, whole)
    )
    assert mine == theirs
    records = [(folder / "mask" / "metrics.jsonl").read_text() for folder in (tmp_path, whole)]
    assert records[0] == records[1]
    results = [json.loads((folder / "result.json").read_text()) for folder in (tmp_path, whole)]
    assert results[0]["accuracy"] == results[1]["accuracy"]
    leftovers = [
        path for path in tmp_path.glob("**/*") if "tmp" in path.name or ".part" in path.name
    ]
    assert not leftovers


def test_a_signal_saves_and_the_same_command_resumes(tmp_path, whole, capsys):
    process = start(tmp_path)
    wait(process, lambda: checkpointed(tmp_path) > 0)
    process.send_signal(signal.SIGSTOP)
    left = tmp_path / "mask" / ".result.json.17.0f0f0f0f.part"
    left.write_text("of a run that was killed")
    refused(tmp_path, process, capsys)
    refused(tmp_path / "mask", process, capsys)
    assert left.exists()
    process.send_signal(signal.SIGCONT)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=DEADLINE)
    assert process.returncode == 143
    assert "the same command goes on" in errors.splitlines()[-1]
    assert 0 < checkpointed(tmp_path) < STEPS
    assert finish(tmp_path)[0] == 0
    for name in ("masks/task.mask", "metrics.jsonl"):
        assert (tmp_path / "mask" / name).read_bytes() == (whole / "mask" / name).read_bytes()
    assert not left.exists()


def refused(folder, first, capsys):
    """A second run is told of the first in one line; what the first writes is not touched."""
    assert main([*COMMAND[3:], f"--workdir={folder}"]) == 2
    told = capsys.readouterr().err
    assert f"process {first.pid} on " in told
    assert told.count("\n") == 1


def test_a_finished_run_is_not_run_again(whole):
    before = {path: path.stat().st_mtime_ns for path in whole.glob("**/*") if path.is_file()}
    began = os.times().elapsed
    assert finish(whole)[0] == 0
    assert os.times().elapsed - began < DEADLINE / 2
    assert before == {path: path.stat().st_mtime_ns for path in before}


def test_ctrl_c_stops_every_time_and_changes_nothing(tmp_path, whole):
    """While JAX is imported, programs are compiled (JAX discards exceptions there) or trained."""
    run = tmp_path / "run"
    begun = (lambda: True, (run / "mask" / "checkpoints").exists, lambda: checkpointed(run) > 0)
    for count, condition in enumerate(begun):
        process = start(run)
        wait(process, condition)
        time.sleep(0.2 * (count < 2) + 0.1)  # Python itself has begun
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=DEADLINE)
        assert process.returncode == 130, errors
        assert errors.splitlines()[-1].startswith("jaxmask: stopped by SIGINT; ")
    assert finish(tmp_path / "run")[0] == 0
    for name in ("masks/task.mask", "metrics.jsonl"):
        assert (tmp_path / "run" / "mask" / name).read_bytes() == (
            whole / "mask" / name
        ).read_bytes()
