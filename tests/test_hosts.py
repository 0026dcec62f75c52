"""One run by several processes of this machine, as if each were a host."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import processes
import pytest

from jaxmask import files, hosts
from jaxmask.cli.run import main
from jaxmask.errors import InputError

HELPER = Path(__file__).parent / "helpers" / "many_hosts.py"
DIGITS = (
    "--config=digits", "--config.start=random", "--config.methods=('mask',)",
    "--config.mask.choices=(20.0,)", "--config.network.width=0.125",
    "--config.mask.train.epochs=16", "--config.mask.train.checkpoint_seconds=0",
)  # fmt: skip
EPOCHS = 8
DEADLINE = 120


@pytest.fixture(scope="module", autouse=True)
def quick(quick_compilation):
    """Programs are small; processes compile alike."""


def free_port():
    with socket.socket() as made:
        made.bind(("localhost", 0))
        return made.getsockname()[1]


def start(count, command, **environment):
    """Starts `count` processes: of the command for each (address, count, index)."""
    address = f"localhost:{free_port()}"
    return [
        subprocess.Popen(
            [sys.executable, *map(str, command(f"{address},{count},{index}"))],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=processes.environment(NPROC="1", **environment), start_new_session=True,
        )
        for index in range(count)
    ]  # fmt: skip


def trained(count, folder, how="resident"):
    """Starts the helper."""
    return start(count, lambda which: [HELPER, which, folder, how, EPOCHS], JAX_ENABLE_X64="1")


def ended(started):
    """(status, stdout, stderr) of each."""
    told = [each.communicate(timeout=DEADLINE) for each in started]
    return [(each.returncode, *texts) for each, texts in zip(started, told)]


def learned(started):
    """What all processes say that they have learned, which is the same."""
    found = ended(started)
    assert [status for status, *_ in found] == [0] * len(started), found
    told = [json.loads(out.splitlines()[-1]) for _, out, _ in found]
    assert all(each == told[0] for each in told)
    return told[0]


def wait(condition, started):
    end = time.monotonic() + DEADLINE
    while not condition():
        assert all(each.poll() is None for each in started), ended(started)
        assert time.monotonic() < end
        time.sleep(0.002)


def checkpointed(folder):
    """The step of the newest checkpoint, in the folder or in that of the method `mask`."""
    found = [0]
    for place in (folder, folder / "mask"):
        with contextlib.suppress(FileNotFoundError):
            names = os.listdir(place / "checkpoints")
            found += [int(name) for name in names if name.isdigit()]
    return max(found)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("whole")


@pytest.fixture(scope="module")
def whole(folder):
    """What two processes learn."""
    found = learned(trained(2, folder / "2"))
    assert found["devices"] == 2
    return found


def close(found, other):
    assert found["steps"] == other["steps"]
    for name, values in other["learned"].items():
        np.testing.assert_allclose(found["learned"][name], values, rtol=1e-9, atol=1e-11)
    assert found["validation"] == pytest.approx(other["validation"], rel=1e-5)


def test_two_and_four_processes_learn_what_one_does(whole, folder):
    one = learned(trained(1, folder / "1"))
    assert one["devices"] == 1
    close(whole, one)
    close(learned(trained(4, folder / "4", "streamed")), one)
    # only the first process has written
    assert {path.name for path in (folder / "2").iterdir()} == {
        path.name for path in (folder / "1").iterdir()
    }
    assert (folder / "2" / "metrics.jsonl").read_text().count("\n") == 2 * EPOCHS


def test_killed_processes_resume_as_many_or_fewer(whole, tmp_path):
    started = trained(2, tmp_path / "a")
    wait(lambda: checkpointed(tmp_path / "a") >= 9, started)
    started[1].kill()
    assert all(status for status, *_ in ended(started))
    assert 0 < checkpointed(tmp_path / "a") < EPOCHS * 9
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    assert learned(trained(2, tmp_path / "a")) == whole
    close(learned(trained(1, tmp_path / "b")), whole)


def cli(count, folder):
    arguments = ["-m", "jaxmask", "run", *DIGITS, f"--workdir={folder}"]
    return start(count, lambda which: [*arguments, f"--distributed={which}"])


def test_a_signal_to_one_host_stops_all_and_they_go_on(tmp_path, capsys):
    started = cli(2, tmp_path)
    wait(lambda: checkpointed(tmp_path) > 0, started)
    started[1].send_signal(signal.SIGTERM)
    found = ended(started)
    assert [status for status, *_ in found] == [143, 143], found
    for _, _, errors in found:
        assert errors.splitlines()[-1].startswith("jaxmask: stopped by SIGTERM; the same command")
    stopped = checkpointed(tmp_path)
    assert stopped % 2 == 0
    started = cli(2, tmp_path)
    wait(lambda: checkpointed(tmp_path) > stopped, started)
    lost = int(files.holder(tmp_path / ".lock").split()[1])  # the first host's own process
    assert lost != started[0].pid
    os.kill(lost, signal.SIGKILL)
    found = ended(started)
    assert [status for status, *_ in found] == [1, 1], found
    for _, _, errors in found:
        assert errors.splitlines()[-1].startswith("jaxmask: a host of this run was lost")
    assert main([*DIGITS, f"--workdir={tmp_path}"]) == 0  # one host is another number of them
    assert json.loads((tmp_path / "mask" / "result.json").read_text())["steps"] == 16 * 8


@pytest.mark.parametrize("how", ["node0", "node0:1,2", "node0:1,2,2", "node0:1,2,-1", ""])
def test_a_malformed_address_is_refused(how, tmp_path, capsys):
    with pytest.raises(InputError, match="is neither auto nor HOST:PORT,COUNT,INDEX"):
        hosts.begin(how)
    assert main([*DIGITS, f"--workdir={tmp_path}", f"--distributed={how}"]) == 2
    assert "HOST:PORT,COUNT,INDEX" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_auto_needs_something_to_tell_from(monkeypatch, capsys, tmp_path):
    from types import SimpleNamespace

    def initialize(**given):
        raise ValueError("coordinator_address should be defined.")

    monkeypatch.setattr(hosts.jax, "distributed", SimpleNamespace(initialize=initialize))
    assert main([*DIGITS, f"--workdir={tmp_path}", "--distributed=auto"]) == 2
    assert "do not find each other (coordinator_address" in capsys.readouterr().err


def test_alone_a_process_leads_and_agrees_with_itself(tmp_path):
    assert (hosts.count(), hosts.leads()) == (1, True)
    assert hosts.agreed(3.5) == 3.5
    assert hosts.largest(7) == 7
    hosts.wait("nobody")
    hosts.end()
    with hosts.own_copy(tmp_path) as place:
        assert place == tmp_path
