"""SIGTERM and Ctrl-C are noted, obeyed where work can stop, and never lost."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from jaxmask import signals
from jaxmask.errors import Interrupted
from jaxmask.signals import is_command, noted, obey

BOTH = (signal.SIGTERM, signal.SIGINT)


@pytest.fixture(autouse=True)
def heard():
    """The signals that reach the handlers from before."""
    found = []
    before = {number: signal.signal(number, lambda n, _: found.append(n)) for number in BOTH}
    yield found
    for number, handler in before.items():
        signal.signal(number, handler)


def send(number):
    os.kill(os.getpid(), number)


def noting(number):
    with noted() as received:
        obey()
        send(number)
        assert received == [number]
        obey()


@pytest.mark.parametrize("number", BOTH)
def test_a_signal_is_noted_and_work_goes_on_until_it_looks(number, heard):
    with pytest.raises(Interrupted) as stop:
        noting(number)
    assert stop.value.number == number
    assert heard == []
    obey()  # it was obeyed


@pytest.mark.parametrize("second", BOTH)
def test_a_second_one_acts_at_once_and_a_repeated_one_does_not(second, heard, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(signals.time, "monotonic", lambda: clock[0])
    reached = []

    def work():
        with noted():
            send(signal.SIGTERM)
            send(signal.SIGTERM)  # as `timeout` does
            reached.append("after one")
            clock[0] = 1.0
            send(second)
            reached.append("after two")

    with pytest.raises(Interrupted) as stop:
        work()
    assert reached == ["after one"]
    assert stop.value.number == second
    send(second)
    assert heard == [second]


@pytest.mark.parametrize("error", [None, ZeroDivisionError])
def test_what_nothing_has_obeyed_goes_to_the_handlers_from_before(error, heard):
    def work():
        with noted():
            send(signal.SIGINT)
            if error:
                raise error

    if error:
        with pytest.raises(error):
            work()
    else:
        work()
    assert heard == [signal.SIGINT]


def test_contexts_within_one_share_its_list(heard):
    with noted() as outer:
        with noted() as inner:
            send(signal.SIGTERM)
        assert inner is outer
        assert outer == [signal.SIGTERM]
        with pytest.raises(Interrupted):
            obey()
        assert heard == []
    assert heard == [signal.SIGTERM]


def test_another_thread_hears_nothing_and_changes_nothing():
    handler, found = signal.getsignal(signal.SIGTERM), []

    def work():
        with noted() as received:
            found.append((received, signal.getsignal(signal.SIGTERM)))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [([], handler)]


@pytest.mark.parametrize(
    ("argv", "original", "is_ours"),
    [
        (["-m", "--config=x"], ["python", "-m", "jaxmask.main", "--config=x"], True),
        (["-m"], ["python", "-X", "dev", "-W", "error", "-m", "jaxmask.task"], True),
        (["/venv/bin/jaxmask", "--config=x"], ["python", "/venv/bin/jaxmask"], True),
        (["-m", "run"], ["python", "-m", "jaxmask", "run"], True),
        (["-m"], ["python", "-m", "mine.train"], False),
        (["-m"], ["python", "-m", "jaxmasked.main"], False),
        (["mine.py", "-m", "jaxmask.main"], ["python", "mine.py", "-m", "jaxmask.main"], False),
        (["-c"], ["python", "-c", "import jaxmask"], False),
        ([""], ["python"], False),
        ([], [], False),
    ],
)
def test_only_the_commands_note_signals_from_the_first_line(argv, original, is_ours):
    assert is_command(argv, original) is is_ours


def test_importing_the_library_changes_no_handler():
    code = (
        "import signal; before = [signal.getsignal(n) for n in (2, 15)]; import jaxmask;"
        "assert before == [signal.getsignal(n) for n in (2, 15)]"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def catches(process, number):
    """Whether a process has a handler of a signal (Linux)."""
    with open(f"/proc/{process.pid}/status") as file:
        caught = next(line.split()[1] for line in file if line.startswith("SigCgt"))
    return bool(int(caught, 16) >> (number - 1) & 1)


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="it reads /proc")
@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        ("main", ["--config=digits", "--config.methods=('mask',)"]),
        ("masks", ["show", "nowhere.mask"]),
    ],
)
def test_a_signal_while_jax_is_imported_ends_a_command_in_one_line(module, arguments, tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-m", f"jaxmask.{module}", *arguments], cwd=tmp_path, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    while not catches(process, signal.SIGTERM):  # Python itself has a handler of SIGINT
        assert process.poll() is None
        time.sleep(0.001)
    process.send_signal(signal.SIGINT)
    out, errors = process.communicate(timeout=120)
    assert (process.returncode, out) == (130, "")
    assert errors.startswith("jaxmask: stopped by SIGINT")
    assert errors.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="it reads /proc")
def test_a_second_signal_ends_a_command_at_once():
    """Even where nothing looks: here, as in a long compilation, for ever."""
    code = (
        "import sys; sys.argv[0], sys.orig_argv[:] = '-m', ['python', '-m', 'jaxmask.main']\n"
        "import jaxmask, time\n"
        "while True: time.sleep(0.01)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code])
    while not catches(process, signal.SIGTERM):
        assert process.poll() is None
        time.sleep(0.001)
    status = None
    while status is None:
        process.send_signal(signal.SIGTERM)
        time.sleep(0.05)
        status = process.poll()
    assert status == 143


@pytest.mark.parametrize("number", BOTH)
def test_a_signal_while_the_process_ends_leaves_its_status(number):
    """Python puts the system's handlers back before it deletes what modules hold."""
    code = (
        "import sys; sys.argv[0], sys.orig_argv[:] = '-m', ['python', '-m', 'jaxmask.main']\n"
        "import os, jaxmask\n"
        "class Late:\n"
        f"    def __del__(self, kill=os.kill, me=os.getpid()): kill(me, {int(number)})\n"
        "late = Late()\n"
        "sys.exit(143)\n"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 143


def test_a_process_that_works_with_others_stops_only_when_they_agree(monkeypatch):
    monkeypatch.setattr(signals, "_received", [])
    signals.obey()
    signals.request(signal.SIGTERM)
    with pytest.raises(Interrupted):
        signals.obey()
    monkeypatch.setattr(signals, "_others", [])
    signals.with_others()
    signals.obey()
