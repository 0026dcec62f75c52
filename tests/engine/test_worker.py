"""What workers tell the driver, and what XLA is told of their share."""

import os
import re

import pytest

from jaxmask.engine import worker
from jaxmask.engine.crew import capacity
from jaxmask.engine.worker import Share
from jaxmask.version import __version__


def test_xla_is_told_the_threads_and_the_memory_of_a_share():
    assert Share(3).environment() == {"NPROC": "3", "PJRT_NPROC": "3"}
    shared = Share(1, 0.25).environment()["XLA_PYTHON_CLIENT_MEM_FRACTION"]
    whole = Share(1, 2.0).environment()["XLA_PYTHON_CLIENT_MEM_FRACTION"]
    assert 4 * float(shared) == pytest.approx(float(whole), rel=1e-2)
    assert float(whole) <= 0.95


def test_the_version_of_a_checkout_is_that_of_its_source(tmp_path, monkeypatch):
    told = worker.versions()["jaxmask"]
    assert re.fullmatch(rf"{re.escape(__version__)} \([0-9a-f]{{8}}\)", told)
    (tmp_path / "engine").mkdir()
    (tmp_path / "a.py").write_text("x = 1")
    monkeypatch.setattr(worker, "__file__", str(tmp_path / "engine" / "worker.py"))
    first = worker.versions()["jaxmask"]
    (tmp_path / "a.py").write_text("x = 2")
    assert len({told, first, worker.versions()["jaxmask"]}) == 3


NODES = (
    {"NodeID": "a", "Alive": True, "Resources": {"CPU": 7.0, "GPU": 2.0}},
    {"NodeID": "b", "Alive": False, "Resources": {"CPU": 8.0}},
    {"NodeID": "c", "Alive": True, "Resources": {"CPU": 2.0}},
    {"NodeID": "d", "Alive": True, "Resources": {"memory": 9.0}},
    {"NodeID": "e", "Alive": True, "Resources": {"CPU": 9.0, "GPU": 1.0}},
)


@pytest.mark.parametrize(
    ("share", "room"),
    [
        (Share(1), {"a": 7, "c": 2, "d": 0}),
        (Share(3), {"a": 2, "c": 0, "d": 0}),
        (Share(1, 1.0), {"a": 2, "c": 0, "d": 0}),
        (Share(1, 0.1), {"a": 7, "c": 0, "d": 0}),  # ten fit a GPU, but seven the cores
        (Share(2, 0.5), {"a": 3, "c": 0, "d": 0}),
    ],
)
def test_workers_fit_the_cores_and_the_accelerators(share, room):
    assert capacity(NODES, share, {"e"}) == room


def test_a_worker_works_where_the_driver_is(tmp_path, monkeypatch):
    monkeypatch.chdir("/")
    monkeypatch.setattr(worker.files, "trust_assignment", lambda: None)
    monkeypatch.setattr(os, "environ", {})
    made = worker.Worker(Share(), str(tmp_path))
    assert os.getcwd() == str(tmp_path)
    (tmp_path / "seen").touch()
    assert made.describe(str(tmp_path / "seen"))["sees"]
    assert not made.describe(str(tmp_path / "other"))["sees"]
    worker.Worker(Share(), "/no such folder")  # of a driver on another machine
