"""The real program: `python -m jaxmask ...` and `python -m jaxmask.NAME`, and how they end."""

import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

import jaxmask
from jaxmask.cli.program import COMMANDS

STARTED = {
    # arguments of Python, its exit status, how stdout begins, and stderr
    "jaxmask": ("-m jaxmask", 0, "usage: jaxmask COMMAND", ""),
    "jaxmask --version": ("-m jaxmask --version", 0, f"jaxmask {jaxmask.__version__}\n", ""),
    "jaxmask rum": ("-m jaxmask rum", 2, "", "jaxmask: there is no command 'rum'; did you mean 'r"),
    "jaxmask --config": (
        "-m jaxmask --config=x",
        2,
        "",
        "jaxmask: name a command: jaxmask run",
    ),
    "jaxmask run": ("-m jaxmask run --config=x", 2, "", "jaxmask: there is no config 'x'"),
    "jaxmask masks": ("-m jaxmask masks show x", 2, "", "jaxmask: "),
    "jaxmask list": ("-m jaxmask list adapters -v=1", 0, "knn  ", ""),
    "absl": ("-m jaxmask list adapters --verbosity=x", 2, "", "jaxmask: flag --verbosity=x: "),
    "log": ("-m jaxmask list adapters --log_dir=x", 2, "", "jaxmask: --log_dir=x is no folder"),
    "run": ("-m jaxmask.run --config=nowhere", 2, "", "jaxmask: there is no config 'nowhere'"),
    "main": ("-m jaxmask.main --config=nowhere", 2, "", "jaxmask: there is no config 'nowhere'"),
    "sweep": ("-m jaxmask.sweep --config=nowhere", 2, "", "jaxmask: there is no config 'nowhere'"),
    "help": ("-m jaxmask.main --help", 0, "usage: jaxmask run --config=CONFIG", ""),
    "masks": ("-m jaxmask.masks --help", 0, "usage: jaxmask masks", ""),
    "task": ("-m jaxmask.task --help", 0, "usage: jaxmask task", ""),
    "prepare": ("-m jaxmask.prepare --help", 0, "usage: jaxmask prepare", ""),
    "report": ("-m jaxmask.report --helpfull", 0, "usage: jaxmask report", ""),
    "list": ("-m jaxmask.list --help", 0, "usage: jaxmask list", ""),
}


@pytest.fixture(scope="module")
def started(tmp_path_factory):
    """Starts a command in a folder that stays empty; returns (status, stdout, stderr)."""
    folder = tmp_path_factory.mktemp("entries")
    running = {}

    def start(name):
        running[name] = subprocess.Popen(
            [sys.executable, *STARTED[name][0].split()], cwd=folder, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def ended(name):
        for each in [each for each in STARTED if each not in running][:2]:  # two side by side
            start(each)
        out, err = running[name].communicate()
        return running[name].returncode, out, err

    yield ended
    assert not list(folder.iterdir())


@pytest.mark.parametrize("name", STARTED)
def test_a_command_starts_and_ends(started, name):
    _, status, out, err = STARTED[name]
    shown = started(name)
    assert shown[0] == status, shown
    assert shown[1].startswith(out)
    assert shown[2].startswith(err)
    assert (shown[1] == "") is (out == "")
    assert shown[2].count("\n") == (err != "")


def test_every_command_is_a_module_too():
    entries = [*COMMANDS, "main"]
    entries.remove("completion")  # of the program itself
    for name in entries:
        folder = Path(jaxmask.__file__).parent / name
        assert folder.with_suffix(".py").exists() or (folder / "__main__.py").exists(), name


def test_the_script_is_the_program():
    text = (Path(__file__).parent.parent / "pyproject.toml").read_text()
    module, _, name = tomllib.loads(text)["project"]["scripts"]["jaxmask"].partition(":")
    from jaxmask.cli import program

    assert getattr(import_module(module), name) is program.run
