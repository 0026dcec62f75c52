"""A command in a process of its own, which may be lost."""

import contextlib
import os
import signal
import subprocess
import sys
import time

import processes
import pytest

PROGRAM = """
import os, signal, sys, time
sys.argv = ["jaxmask"]  # as if it were that
from jaxmask import signals
from jaxmask.cli import supervise
from jaxmask.cli.ending import exit_status

def work():
    def inner():
        print(os.getpid(), os.environ["KEPT"], flush=True)
        {work}
    return exit_status(inner, lambda: "")

KEPT = os.environ.get("KEPT", "")
sys.exit(supervise.supervised(work, "the cluster was lost", KEPT="yes"))
"""
WAITING = "[(signals.obey(), time.sleep(0.01)) for _ in range(3000)]"


def start(work):
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM.format(work=work)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=processes.environment(),
        start_new_session=True,
    )  # fmt: skip


def test_the_status_is_that_of_the_work():
    parent = start("raise __import__('jaxmask.errors').errors.InputError('wrong')")
    said, errors = parent.communicate(timeout=60)
    assert said.split()[1] == "yes"
    assert int(said.split()[0]) != parent.pid
    assert (parent.returncode, errors) == (2, "jaxmask: wrong\n")


@pytest.mark.parametrize("end", ["os.kill(os.getpid(), signal.SIGKILL)", "os._exit(1)"])
def test_one_line_tells_of_a_process_that_is_lost(end):
    parent = start(end)
    _, errors = parent.communicate(timeout=60)
    assert parent.returncode == 1
    assert errors.startswith("jaxmask: the cluster was lost (its process ended with s")
    assert len(errors.splitlines()) == 1


@pytest.mark.parametrize(("number", "group"), [(signal.SIGTERM, False), (signal.SIGINT, True)])
def test_signals_reach_the_work_once(number, group):
    parent = start(WAITING)
    assert parent.stdout.readline()
    (os.killpg if group else os.kill)(parent.pid, number)
    began = time.monotonic()
    _, errors = parent.communicate(timeout=60)
    assert parent.returncode == 128 + number
    assert errors == f"jaxmask: stopped by {signal.Signals(number).name}\n"
    assert time.monotonic() - began < 20


def test_a_signal_before_the_child_can_note_it_is_no_loss():
    parent = start("signal.signal(signal.SIGTERM, signal.SIG_DFL); time.sleep(60)")
    assert parent.stdout.readline()
    time.sleep(0.2)
    parent.send_signal(signal.SIGTERM)
    _, errors = parent.communicate(timeout=60)
    assert parent.returncode == 143
    assert errors == "jaxmask: stopped by SIGTERM\n"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells a child")
def test_the_work_ends_with_its_parent():
    parent = start("time.sleep(0)\n        while True: signals.obey(), time.sleep(0.01)")
    child = int(parent.stdout.readline().split()[0])
    try:
        parent.kill()
        parent.wait()
        end = time.monotonic() + 30
        while running(child):
            assert time.monotonic() < end
            time.sleep(0.01)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)


def running(process):
    """Whether it has not ended; nobody may have waited for it since."""
    try:
        with open(f"/proc/{process}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
