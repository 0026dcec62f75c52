"""`python -m jaxmask.NAME` starts the command of that name, which ends as it should."""

import subprocess
import sys

import pytest

COMMANDS = {
    # what it is given, its exit status, what it says on stdout and on stderr
    "main": (["--config=nowhere"], 2, "", "jaxmask: there is no config 'nowhere'"),
    "sweep": (["--config=nowhere"], 2, "", "jaxmask: there is no config 'nowhere'"),
    "masks": (["--help"], 0, "usage: python -m jaxmask.masks", ""),
    "task": (["--help"], 0, "usage: python -m jaxmask.task", ""),
    "prepare": (["--help"], 0, "usage: python -m jaxmask.prepare", ""),
    "report": (["--help"], 0, "usage: python -m jaxmask.report", ""),
}


@pytest.fixture(scope="module")
def started(tmp_path_factory):
    """All of them, side by side, in a folder that stays empty."""
    folder = tmp_path_factory.mktemp("entries")
    return folder, {
        name: subprocess.Popen(
            [sys.executable, "-m", f"jaxmask.{name}", *arguments], cwd=folder, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for name, (arguments, *_) in COMMANDS.items()
    }  # fmt: skip


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_starts_and_ends(started, name):
    folder, processes = started
    _, status, out, err = COMMANDS[name]
    shown = processes[name].communicate()
    assert processes[name].returncode == status
    assert shown[0].startswith(out)
    assert shown[1].startswith(err)
    assert (shown[0] == "") is (out == "")
    assert shown[1].count("\n") == (err != "")
    assert not list(folder.iterdir())
