"""Grids by a Ray cluster of two nodes on this machine, and what may happen to it; real digits."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import experiments
import processes
import pytest

from jaxmask import files
from jaxmask.cli import sweep
from jaxmask.report import canvas

pytest.importorskip("ray")

COMMON = (
    "--config=prune_digits", "--config.network.width=0.1", "--config.train.batch_size=64",
    "--config.train.checkpoint_seconds=0",
)  # fmt: skip
SHORT = ("--config.train.epochs=2", "--config.grid=((('density',(0.5,0.1)),('seed',(0,1))),)")
LONG = ("--config.train.epochs=30", "--config.grid=((('density',(0.5,0.2)),),)")
STORE = 80 * 2**20  # bytes of objects of a node; Ray's least is 75 MiB
# a lost node or head is noticed within seconds
SOON = {
    "RAY_health_check_initial_delay_ms": "0", "RAY_health_check_period_ms": "500",
    "RAY_health_check_failure_threshold": "3", "RAY_gcs_rpc_server_reconnect_timeout_s": "5",
    "RAY_USAGE_STATS_ENABLED": "0",
}  # fmt: skip
DEADLINE = 120


@pytest.fixture(scope="module", autouse=True)
def undrawn(quick_compilation):
    """Figures are half of the time; tests/report are about them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(canvas, "save", lambda figure, path: path.write_bytes(b"a picture"))
        experiments.without_figures(patch)
        for name, value in SOON.items():
            patch.setenv(name, value)
        yield


@pytest.fixture(scope="module")
def cluster(undrawn):
    """A head and a node, of one core each."""
    from ray.cluster_utils import Cluster

    arguments = {"num_cpus": 1, "object_store_memory": STORE, "include_dashboard": False}
    made = Cluster(initialize_head=True, head_node_args=arguments)
    made.add_node(num_cpus=1, object_store_memory=STORE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_ADDRESS", made.address)
        yield made
    made.shutdown()


@pytest.fixture(scope="module")
def local(tmp_path_factory, undrawn):
    """Both grids, by this process alone."""
    folders = [tmp_path_factory.mktemp("local") for _ in range(2)]
    for folder, grid in zip(folders, (SHORT, LONG)):
        assert swept(folder, grid, engine=None) == 0
    return folders


def swept(folder, grid, engine="ray"):
    engine = [f"--engine={engine}"] if engine else []
    return sweep.main([*COMMON, *grid, *engine, f"--workdir={folder}"])


def results(folder):
    """What is equal, to the last bit, wherever a run was carried out, by its name."""
    timed = ("seconds", "waited")
    found = {}
    for path in folder.glob("*/result.json"):
        values = json.loads(path.read_text())
        values = {name: value for name, value in values.items() if not name.startswith(timed)}
        found[path.parent.name] = (values, (path.parent / "masks" / "ticket.mask").read_bytes())
    return found


def finished_once(said, folder):
    """Asserts that every run was finished, and said so once."""
    told = re.findall(r"^\[\d+/\d+\] (\S+): [\d.]+%", said, re.MULTILINE)
    assert sorted(told) == sorted(results(folder))


def wait(condition):
    end = time.monotonic() + DEADLINE
    while not (found := condition()):
        assert time.monotonic() < end
        time.sleep(0.01)
    return found


def trained_by(folder):
    """The processes that have saved a checkpoint of a run and go on with it."""
    found = []
    for lock in folder.glob("*/.lock"):
        saved = any(path.name.isdigit() for path in lock.parent.glob("checkpoints/*"))
        if saved and (who := files.holder(lock)):
            found.append(int(who.split()[1]))
    return found


def meanwhile(work):
    """Starts a function beside the test; returns its thread."""
    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_workers_find_what_one_process_finds_even_with_a_full_object_store(
    cluster, local, tmp_path, capsys
):
    import numpy as np
    import ray

    ray.init(cluster.address, logging_level="ERROR", log_to_driver=False)
    kept = [ray.put(np.zeros(2**20, np.uint8)) for _ in range(70)]
    kept += [ray.put(np.zeros(2**18, np.uint8)) for _ in range(8)]
    ray.shutdown()
    del kept
    assert swept(tmp_path, SHORT) == 0
    said = capsys.readouterr().out
    finished_once(said, tmp_path)
    assert said.endswith(f"tables and figures: {tmp_path / 'report'}\n")
    assert results(tmp_path) == results(local[0])
    assert len(results(tmp_path)) == 4
    assert not list((tmp_path / ".locks").iterdir())


def test_runs_of_a_killed_worker_and_of_a_lost_node_go_on_elsewhere(
    cluster, local, tmp_path, capsys
):
    node = next(iter(cluster.worker_nodes))

    def lose():
        killed = wait(lambda: len(set(trained_by(tmp_path))) == 2 and trained_by(tmp_path))[0]
        os.kill(killed, signal.SIGKILL)
        wait(lambda: len(set(trained_by(tmp_path)) - {killed}) == 2 or results(tmp_path))
        cluster.remove_node(node, allow_graceful=False)

    losing = meanwhile(lose)
    assert swept(tmp_path, LONG) == 0
    losing.join()
    cluster.add_node(num_cpus=1, object_store_memory=STORE)
    finished_once(capsys.readouterr().out, tmp_path)
    assert results(tmp_path) == results(local[1])


def test_what_only_workers_refuse_fails_alone(cluster, tmp_path, capsys, monkeypatch):
    from jaxmask import recipe

    prepare = recipe.prepare

    def tolerant(config, **options):
        with config.unlocked():
            known = config.copy_and_resolve_references()
            known.criterion = "magnitude"
        return prepare(known, **options)

    monkeypatch.setattr(recipe, "prepare", tolerant)
    grid = ("--config.train.epochs=2", "--config.grid=((('criterion',('snap','magnitude')),),)")
    assert swept(tmp_path, grid) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "1 of 2 runs failed, the first is criterion=snap: unknown criterion 'snap'" in error
    assert list(results(tmp_path)) == ["criterion=magnitude"]


def start(folder, grid, **environment):
    return subprocess.Popen(
        [sys.executable, "-m", "jaxmask", "sweep", *COMMON, *grid, "--engine=ray",
         f"--workdir={folder}"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=processes.environment(**environment), start_new_session=True,
    )  # fmt: skip


def test_ctrl_c_saves_checkpoints(cluster, tmp_path):
    driver = start(tmp_path, LONG)
    wait(lambda: driver.poll() is not None or len(set(trained_by(tmp_path))) == 2)
    os.killpg(driver.pid, signal.SIGINT)  # as a terminal does
    _, errors = driver.communicate(timeout=DEADLINE)
    assert driver.returncode == 130, errors
    assert errors.splitlines()[-1] == (
        f"jaxmask: stopped by SIGINT; the same command goes on in {tmp_path}"
    )
    assert not results(tmp_path)
    assert not list(tmp_path.glob("*/.lock"))  # none was killed


def test_a_grid_whose_head_is_lost_goes_on_under_another(cluster, local, tmp_path):
    without = {"RAY_ADDRESS": "local"}  # a cluster of its own
    driver = start(tmp_path, LONG, **without)
    wait(lambda: driver.poll() is not None or trained_by(tmp_path))
    (head,) = [pid for pid in descendants(driver.pid) if "gcs_server" in command(pid)]
    os.kill(head, signal.SIGKILL)
    _, errors = driver.communicate(timeout=DEADLINE)
    assert driver.returncode == 1, errors
    assert errors.splitlines()[-1].startswith(
        "jaxmask: the Ray cluster was lost; the same command goes on, once there is one"
    )
    assert swept(tmp_path, LONG) == 0  # under the head of the other tests
    assert results(tmp_path) == results(local[1])


def test_a_second_driver_is_refused(tmp_path, capsys):
    for lock, who in ((".locks/driver", "ray"), (".locks/density=0.5,seed=0", "ray"),
                      (".locks/driver", None)):  # fmt: skip
        with files.locked(tmp_path / lock):
            assert swept(tmp_path, SHORT, who) == 2
        error = capsys.readouterr().err.splitlines()[-1]
        assert f"process {os.getpid()} on " in error
        assert "carries out" in error
    assert not results(tmp_path)


def command(pid):
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


def descendants(pid):
    """The processes that a process has started, and those that these have started."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents[int(path.parent.name)] = int(fields[1])
    found, new = [], [pid]
    while new:
        new = [child for child, parent in parents.items() if parent in new]
        found += new
    return found
