"""The scripts in launch: what they install and start, with stand-ins for Python, pip and Slurm."""

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
if [ "${1:-}" = -m ] && [ "$2" = jaxmask ] && [ -n "${STATUS:-}" ]; then exit "$STATUS"; fi
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


# Slurm's own commands and Ray: they write down how they are called
SRUN = """#!/usr/bin/env bash
echo "srun $*" >> "$CALLS"
if [ -n "${HEAD:-}" ]; then case "$*" in *" start --head"*) exit 1 ;; esac; fi
case "$*" in *" start --head"* | *" join") exec sleep 60 ;; esac
exit "${STATUS:-0}"
"""
SCONTROL = """#!/usr/bin/env bash
printf 'node1\\nnode2\\nnode3\\n'
"""
RAY = """#!/usr/bin/env bash
echo "ray $*" >> "$CALLS"
if [ -n "${HEAD:-}" ]; then exit 1; fi
"""


@pytest.fixture
def slurm(launch, tmp_path):
    """Runs launch/slurm as a batch script of an allocation; returns (status, calls, stderr)."""
    stubs, checkout = tmp_path / "stubs", tmp_path / "check out"
    for path, text in {stubs / "srun": SRUN, stubs / "scontrol": SCONTROL,
                       checkout / ".venv" / "bin" / "ray": RAY}.items():  # fmt: skip
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)

    def slurm(*arguments, nodes=3, **more):
        given = {"SLURM_SUBMIT_DIR": str(checkout), "SLURM_JOB_NUM_NODES": str(nodes),
                 "SLURM_JOB_NODELIST": "node[1-3]",
                 "PATH": f"{stubs}{os.pathsep}{os.environ['PATH']}"}  # fmt: skip
        status, called, told = launch(*arguments, name="slurm", **given, **more)
        return (
            status,
            [
                call
                for call in called
                if call.startswith(("srun", "ray", "ROOT/.venv/bin/python -m jaxmask"))
            ],
            told,
        )

    return slurm


COMMAND = "ROOT/.venv/bin/python -m jaxmask"


def test_slurm_runs_a_grid_by_ray_on_all_nodes(slurm):
    status, called, _ = slurm("sweep", "--config=digits")
    assert status == 0
    assert set(called) == {
        "srun --nodes=1 --ntasks=1 --nodelist=node1 --overlap "
        "ROOT/.venv/bin/ray start --head --port=6379 --block",
        "srun --nodes=2 --ntasks=2 --exclude=node1 --overlap ROOT/launch/slurm join",
        "ray status",
        f"{COMMAND} sweep --config=digits --engine=ray",
    }
    assert not any("--exclude" in call for call in slurm("sweep", nodes=1)[1])
    assert slurm("join", RAY_ADDRESS="node1:6379")[1] == ["ray start --address=node1:6379 --block"]


def test_slurm_runs_one_run_with_a_process_for_each_gpu(slurm):
    _, called, _ = slurm("run", "--config=digits", SLURM_GPUS_ON_NODE="8")
    assert called == [
        "srun --ntasks=24 --ntasks-per-node=8 --overcommit --kill-on-bad-exit=1 "
        f"{COMMAND} run --config=digits --distributed=auto"
    ]


def test_slurm_ends_with_the_status_of_the_command(slurm):
    assert [slurm(name, STATUS="143")[0] for name in ("run", "sweep")] == [143, 143]
    assert slurm("sweep", HEAD="1")[0] == 1  # Ray's head fails
    status, _, told = slurm("report")
    assert status == 2
    assert told.splitlines()[-1] == "launch/slurm: give run or sweep, and its arguments"


def kubernetes(*arguments, **environment):
    given = {**os.environ, **environment}
    command = [ROOT / "launch" / "kubernetes", *arguments]
    return subprocess.run(command, env=given, text=True, capture_output=True)


@pytest.mark.parametrize(
    ("what", "gpus", "limits", "script"),
    [
        (("sweep", "--config=digits", "--workdir=/runs/a b"), 8, {"nvidia.com/gpu": 8},
         "jaxmask sweep --config=digits --workdir=/runs/a\\ b  --engine=ray"),
        (("run", "--config=digits"), 0, {},
         "exec jaxmask run --config=digits  "
         "--distributed=mine-0.mine:1234,4,$JOB_COMPLETION_INDEX"),
    ],
)  # fmt: skip
def test_kubernetes_gets_a_job_of_pods_that_find_each_other(what, gpus, limits, script):
    yaml = pytest.importorskip("yaml")
    ended = kubernetes("--dry-run", "my/image", "claim", "4", str(gpus), *what, NAME="mine")
    assert ended.returncode == 0, ended.stderr
    service, job = yaml.safe_load_all(ended.stdout)
    assert service["spec"]["selector"] == {"job-name": "mine"}
    assert (job["spec"]["completions"], job["spec"]["parallelism"]) == (4, 4)
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["subdomain"] == service["metadata"]["name"] == "mine"
    assert (container["image"], container["resources"]["limits"]) == ("my/image", limits)
    assert script in container["args"][0]
    shell = subprocess.run(["bash", "-n", "-c", container["args"][0]])
    assert shell.returncode == 0


def test_kubernetes_needs_to_know_where_and_what():
    for arguments in ((), ("image", "claim", "4", "8"), ("image", "claim", "4", "8", "report")):
        ended = kubernetes(*arguments)
        assert (ended.returncode, ended.stdout) == (2, "")
        assert "give IMAGE CLAIM PODS GPUS" in ended.stderr


@pytest.mark.parametrize("path", sorted((ROOT / "launch").iterdir()), ids=lambda path: path.name)
def test_scripts_pass_the_linter(path):
    if path.suffix or (program := shutil.which("shellcheck")) is None:
        pytest.skip("not a script, or shellcheck is not installed")
    ended = subprocess.run([program, "-x", "-S", "warning", "-e", "SC2154", path], cwd=ROOT,
                           text=True, capture_output=True)  # fmt: skip
    assert ended.returncode == 0, ended.stdout
