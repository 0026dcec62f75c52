"""What is built for others to install: its content, its metadata, and that it works elsewhere."""

import importlib.metadata
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import jaxmask

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
BUILD = "import sys, hatchling.build as b; print(getattr(b, f'build_{sys.argv[1]}')(sys.argv[2]))"
# what a checkout may hold besides sources
MADE = {"__pycache__", "_build", ".hypothesis", ".pytest_cache", ".mypy_cache", ".ruff_cache"}
GENERATED = (
    "docs/examples/",
    "docs/reference/fields.inc",
    "docs/reference/help.txt",
    "docs/sg_execution_times.rst",
)


def build(kind, source, folder):
    """The path of the sdist or wheel that the build backend makes of the folder `source`."""
    command = [sys.executable, "-c", BUILD, kind, str(folder)]
    ended = subprocess.run(command, cwd=source, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    return folder / ended.stdout.split()[-1]


@pytest.fixture(scope="module")
def sdist(tmp_path_factory):
    """The sdist of this checkout, unpacked."""
    folder = tmp_path_factory.mktemp("sdist")
    shutil.unpack_archive(build("sdist", ROOT, folder), folder)
    (unpacked,) = (path for path in folder.iterdir() if path.is_dir())
    return unpacked


@pytest.fixture(scope="module")
def wheel(sdist, tmp_path_factory):
    """The wheel that is built of the sdist alone."""
    return build("wheel", sdist, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """A folder with the installed wheel; what it depends on is in this environment."""
    target = tmp_path_factory.mktemp("installed")
    options = ["--quiet", "--no-deps", "--no-index", "--no-compile", "--target", target]
    subprocess.run([sys.executable, "-m", "pip", "install", *options, wheel], check=True)
    return target


def run(installed, folder, *arguments):
    """What `python ARGUMENTS` prints in a folder with nothing of ours but the installed wheel."""
    given = {**os.environ, "PYTHONPATH": str(installed), "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
    command = [sys.executable, *map(str, arguments)]
    ended = subprocess.run(command, cwd=folder, env=given, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def sources(*folders):
    """All files of these folders of the checkout, except what programs made there."""
    found = {
        path.relative_to(ROOT).as_posix()
        for folder in folders
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and not MADE & set(path.parts)
    }
    return {name for name in found if not name.startswith(GENERATED)}


def test_the_wheel_holds_the_package_and_the_configs_and_no_more(wheel):
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    configs = {f"jaxmask/{name}" for name in sources("configs")}
    assert names == sources("jaxmask") | configs
    assert {"jaxmask/py.typed", "jaxmask/configs/digits.py"} <= names


def test_the_sdist_holds_all_sources_and_what_their_tests_need(sdist):
    names = {path.relative_to(sdist).as_posix() for path in sdist.rglob("*") if path.is_file()}
    folders = ("jaxmask", "configs", "docs", "examples", "tests", "benchmarks", "launch")
    texts = {path.name for path in ROOT.glob("*") if path.suffix in (".md", ".cff")}
    more = {"pyproject.toml", "LICENSE", ".gitignore", "PKG-INFO"}
    assert names == sources(*folders) | texts | more
    assert os.access(sdist / "launch" / "test", os.X_OK)


def test_the_metadata_are_those_of_the_project(installed):
    (found,) = importlib.metadata.distributions(path=[str(installed)])
    about = found.metadata
    assert (about["Name"], about["License-Expression"]) == ("jaxmask", "Apache-2.0")
    assert about["Requires-Python"] == PROJECT["requires-python"]
    assert set(about.get_all("Provides-Extra")) == set(PROJECT["optional-dependencies"])
    bare = {line for line in found.requires if "extra ==" not in line}
    assert {re.match(r"[\w-]+", line)[0] for line in bare} == {"jax", "numpy", "optax"}
    (entry,) = found.entry_points
    assert (entry.name, entry.value) == ("jaxmask", PROJECT["scripts"]["jaxmask"])


def test_the_version_is_written_once(wheel, installed, tmp_path):
    assert "version" in PROJECT["dynamic"]
    assert wheel.name == f"jaxmask-{jaxmask.__version__}-py3-none-any.whl"
    (found,) = importlib.metadata.distributions(path=[str(installed)])
    assert found.version == jaxmask.__version__
    code = "import jaxmask; print(jaxmask.__version__, jaxmask.__file__)"
    version, file = run(installed, tmp_path, "-c", code).split()
    assert version == jaxmask.__version__
    assert Path(file).is_relative_to(installed)
    assert (
        run(installed, tmp_path, installed / "bin" / "jaxmask", "--version")
        == f"jaxmask {version}\n"
    )


def test_no_bound_refuses_the_next_release():
    extras = PROJECT["optional-dependencies"].values()
    lines = [PROJECT["requires-python"], *PROJECT["dependencies"], *itertools.chain(*extras)]
    assert [line for line in lines if re.search("<|==|~=", line)] == []


def test_every_tested_python_is_named():
    stated = {line.rpartition(" ")[2] for line in PROJECT["classifiers"] if ":: 3." in line}
    page = (ROOT / "docs" / "reference" / "versions.md").read_text()
    assert stated == set(re.findall(r"^\| (3\.\d+) \|", page, re.M))
    launched = re.findall(r"python(3\.\d+)", (ROOT / "launch" / "environment").read_text())
    assert launched == sorted(stated, key=lambda name: -int(name.partition(".")[2]))
    assert f"{sys.version_info.major}.{sys.version_info.minor}" in stated


LIBRARY = """
import jax, jax.numpy as jnp, optax
from jaxmask import mask, prune, score, tree

w = {"body": {"kernel": jax.random.normal(jax.random.key(0), (6, 8))}, "head": jnp.ones((8, 1))}
x, y = jax.random.normal(jax.random.key(1), (32, 6)), jnp.ones((32, 1))
loss = lambda w: jnp.mean((jnp.tanh(x @ w["body"]["kernel"]) @ w["head"] - y) ** 2)
parts = tree.partition(w, tree.label(w, [(".*/kernel", "mask")]))
transform = mask.top_k(0.25)
scores = transform.init(jax.random.key(2), parts["mask"])
masked = lambda s: tree.combine(transform.apply(s, parts["mask"]), parts["freeze"])
gradient = jax.grad(lambda s: loss(masked(s)))(scores)
scores = optax.apply_updates(scores, jax.tree.map(lambda g: -g, gradient))
kept = prune.one_shot(score.snip(lambda w, x: loss(w)), 0.5)(w, x)
print(mask.measure.density(transform.mask(scores)), mask.measure.density(kept))
"""


def test_the_installed_library_masks_and_prunes(installed, tmp_path):
    assert run(installed, tmp_path, "-c", LIBRARY).split() == ["0.25", "0.5"]


def test_an_installed_command_runs_a_packaged_config(installed, tmp_path):
    options = ["methods=('knn',)", "pretrain.train.epochs=1", "network.width=0.1"]
    program = installed / "bin" / "jaxmask"
    command = ["run", "--config=digits", "--workdir=run"]
    run(installed, tmp_path, program, *command, *(f"--config.{option}" for option in options))
    result = json.loads((tmp_path / "run" / "knn" / "result.json").read_text())
    assert result["method"] == "knn"
    assert 0.2 < result["accuracy"] <= 1
