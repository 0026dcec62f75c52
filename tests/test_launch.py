"""launch/prepare and launch/run: what they install where, with stand-ins for Python and pip."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# a "python" that makes environments of itself, and writes down how it is called
PYTHON = """#!/usr/bin/env bash
echo "$0 $*" >> "$CALLS"
if [ "${1:-}" = -m ] && [ "$2" = venv ]; then mkdir -p "$3/bin"; cp "$0" "$3/bin/python"; fi
if [ "${1:-}" = -m ] && [ "$2" = pip ] && [ -n "${FAIL:-}" ]; then exit 1; fi
"""


@pytest.fixture
def launch(tmp_path):
    """Runs launch/NAME of a copy of the checkout; returns (status, calls of Python, stderr)."""
    checkout = tmp_path / "check out"
    shutil.copytree(ROOT / "launch", checkout / "launch")
    shutil.copy(ROOT / "pyproject.toml", checkout)
    python, calls = tmp_path / "python", tmp_path / "calls"
    python.write_text(PYTHON)
    python.chmod(0o755)

    def launch(*arguments, name="prepare", **more):
        calls.write_text("")
        given = {**os.environ, "PYTHON": str(python), "CALLS": str(calls), **more}
        command = [checkout / "launch" / name, *arguments]
        ended = subprocess.run(command, cwd=tmp_path, env=given, text=True, capture_output=True)
        called = calls.read_text().replace(str(checkout), "ROOT").splitlines()
        return ended.returncode, called, ended.stderr

    return launch


def test_tensorflow_goes_into_an_environment_of_its_own(launch, tmp_path):
    own = "ROOT/.venv-prepare/bin/python"
    status, called, told = launch("mnist", "--directory=/a b", JAXMASK_EXTRAS="cuda12")
    assert status == 0
    assert called[1:] == [
        f"{tmp_path}/python --version",
        f"{tmp_path}/python -m venv ROOT/.venv-prepare",
        f"{own} -m pip install -qq --disable-pip-version-check -e ROOT[prepare]",
        f"{own} -m jaxmask.prepare mnist --directory=/a b",
    ]
    assert "installing with the extras prepare" in told
    status, called, told = launch("cifar10")  # installed already
    assert (status, called, told) == (0, [f"{own} -m jaxmask.prepare cifar10"], "")
    assert not (tmp_path / "check out" / ".venv").exists()


def test_a_failed_installation_is_told_and_tried_again(launch):
    status, called, told = launch("mnist", FAIL="1")
    assert status == 1
    assert "installation failed" in told
    assert not any("jaxmask.prepare" in call for call in called)
    assert launch("mnist")[0] == 0


def test_the_newest_python_is_taken(launch, tmp_path):
    for name in ("python3.12", "python3.14"):
        (tmp_path / name).write_text(PYTHON)
        (tmp_path / name).chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    _, called, _ = launch("mnist", PYTHON="", PATH=path)
    assert f"{tmp_path}/python3.14 -m venv ROOT/.venv-prepare" in called


@pytest.mark.parametrize(
    ("given", "called"),
    [
        ([], "run --config=digits"),
        (["--config=mnist:dense", "--config.seed=1"], "run --config=mnist:dense --config.seed=1"),
        (["masks", "show", "a b.mask"], "masks show a b.mask"),
        (["--version"], "--version"),
        (["--help"], "--help"),
    ],
)
def test_run_takes_commands_or_the_arguments_of_one_run(launch, given, called):
    status, calls, _ = launch(*given, name="run")
    assert (status, calls[-1]) == (0, f"ROOT/.venv/bin/python -m jaxmask {called}")
