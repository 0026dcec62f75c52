"""Killed, stopped and finished runs, through the command line, on real digits."""

import json
import os
import signal
import subprocess
import sys
import time

import processes
import pytest

from jaxmask.cli.run import main

EPOCHS = 16
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
        text=True, env=processes.environment(JAX_DISABLE_MOST_OPTIMIZATIONS="1"),
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


def test_whatever_ends_it_the_same_command_leaves_the_files_of_a_whole_run(tmp_path, whole, capsys):
    run = tmp_path / "run"
    interrupted(run)
    stopped(run, capsys)
    before = checkpointed(run)
    for share in (0.4, 0.6):
        process = start(run)
        wait(process, lambda share=share: checkpointed(run) >= share * STEPS)
        if share == 0.4:
            wait(process, lambda: saving(run))
        process.kill()
        process.communicate()
        assert before < checkpointed(run) < STEPS, "it died behind a checkpoint, before its end"
        before = checkpointed(run)
        assert not (run / "mask" / "result.json").exists()
        assert not list(run.glob("**/*.mask"))
    status, errors = finish(run)
    assert status == 0, errors
    for name in ("masks/task.mask", "metrics.jsonl"):
        assert (run / "mask" / name).read_bytes() == (whole / "mask" / name).read_bytes()
    results = [json.loads((folder / "result.json").read_text()) for folder in (run, whole)]
    assert results[0]["accuracy"] == results[1]["accuracy"]
    assert not [path for path in run.glob("**/*") if "tmp" in path.name or ".part" in path.name]


def interrupted(run):
    """While JAX is imported, programs are compiled (JAX discards exceptions there) or trained."""
    begun = (lambda: True, (run / "mask" / "checkpoints").exists, lambda: checkpointed(run) > 0)
    for count, condition in enumerate(begun):
        process = start(run)
        wait(process, condition)
        time.sleep(0.2 * (count < 2) + 0.1)  # Python itself has begun
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=DEADLINE)
        assert process.returncode == 130, errors
        assert errors.splitlines()[-1].startswith("jaxmask: stopped by SIGINT; ")


def stopped(run, capsys):
    """A signal saves; meanwhile a second run is refused."""
    before = checkpointed(run)
    process = start(run)
    wait(process, lambda: checkpointed(run) > before)
    process.send_signal(signal.SIGSTOP)
    left = run / "mask" / ".result.json.17.0f0f0f0f.part"
    left.write_text("of a run that was killed")
    refused(run, process, capsys)
    refused(run / "mask", process, capsys)
    assert left.exists()
    process.send_signal(signal.SIGCONT)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=DEADLINE)
    assert process.returncode == 143
    assert "the same command goes on" in errors.splitlines()[-1]
    assert 0 < checkpointed(run) < STEPS


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
