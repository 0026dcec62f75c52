"""How a command ends: an exit status, and one line on stderr."""

import errno
import signal
import subprocess
import sys

import jax
import pytest

from jaxmask.cli.ending import HelpShown, exit_status
from jaxmask.errors import InputError, Interrupted


def raising(error):
    def work():
        raise error

    return work


@pytest.mark.parametrize(
    ("error", "status", "told"),
    [
        (InputError("x is 3; give 4"), 2, "jaxmask: x is 3; give 4\n"),
        (SystemExit(3), 2,
         "jaxmask: code that was loaded ended the command by sys.exit(3); remove that\n"),
        (SystemExit(), 2,
         "jaxmask: code that was loaded ended the command by sys.exit(); remove that\n"),
        (Interrupted(signal.SIGTERM), 143, "jaxmask: stopped by SIGTERM; go on there\n"),
        (Interrupted(signal.SIGINT), 130, "jaxmask: stopped by SIGINT; go on there\n"),
        (KeyboardInterrupt(), 130, "jaxmask: stopped by SIGINT; go on there\n"),
        (OSError(errno.ENOSPC, "full", "/x/y"), 1,
         "jaxmask: cannot read or write /x/y: No space left on device; fix this and rerun\n"),
        (OSError(errno.EROFS, "read-only"), 1,
         "jaxmask: cannot read or write the place: Read-only file system; fix this and rerun\n"),
    ],
)  # fmt: skip
def test_what_was_at_fault_is_one_line(error, status, told, capsys):
    assert exit_status(raising(error), lambda: "the place", lambda: "; go on there") == status
    assert capsys.readouterr().err == told


def test_a_signal_that_also_ended_the_compiler_stops_the_command(capsys):
    def work():
        signal.raise_signal(signal.SIGTERM)
        raise jax.errors.JaxRuntimeError("the compiler exited with error code 15")

    assert exit_status(work, lambda: "", lambda: "; go on there") == 143
    assert capsys.readouterr().err == "jaxmask: stopped by SIGTERM; go on there\n"


@pytest.mark.parametrize(
    ("otherwise", "told"),
    [("or: give\nothers", "or: give others"), ("n" * 5000, f"{'n' * 500} ... {'n' * 500}")],
)
def test_another_way_is_a_second_line_however_it_is_written(otherwise, told, capsys):
    """What a library adds to any exception, as JAX does, is not told."""
    error = InputError("no data\nhere", otherwise)
    error.add_note("a library's own")
    assert exit_status(raising(error), lambda: "") == 2
    assert capsys.readouterr().err == f"jaxmask: no data here\n{told}\n"


def test_work_that_is_done_says_nothing(capsys):
    done = []
    assert exit_status(lambda: done.append(1), lambda: "") == 0
    assert done == [1]
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "error",
    [OSError("a library's own"), ValueError("x"), ZeroDivisionError(), RuntimeError("x"),
     jax.errors.JaxRuntimeError("x")],
)  # fmt: skip
def test_a_fault_of_the_program_is_not_hidden(error):
    with pytest.raises(type(error)):
        exit_status(raising(error), lambda: "")


def test_help_is_no_fault(capsys):
    assert exit_status(raising(HelpShown()), lambda: "") == 0
    assert capsys.readouterr().err == ""


def test_a_reader_that_has_seen_enough_is_no_fault():
    """`command | head -1`: the rest of the output goes nowhere, and nothing is told."""
    script = (
        "import sys\n"
        "from jaxmask.cli.ending import HelpShown, exit_status\n"
        "def work():\n"
        "    for _ in range(10**5):\n"
        "        print('a line of output')\n"
        "    sys.stdout.flush()\n"
        "sys.exit(exit_status(work, lambda: 'the output'))\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout.readline() == b"a line of output\n"
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0
