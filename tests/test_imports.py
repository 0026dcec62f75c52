"""Imports go one way (design, section 1): allowed imports, checked in the source with ast."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import jaxmask

PACKAGE = Path(jaxmask.__file__).parent

CORE = ("tree", "mask", "score", "prune")
APART = ("model", "data", "loss")
LEARNED = {*CORE, *APART, "train", "evaluate", "adapter", "maskfile", "task"}

EVERYBODY_MAY = {"errors", "version", "convolution", "precision", "sharding", "signals", "hosts"}
# room or module -> the others that it may also import
MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "version": set(),
    "signals": set(),
    "hosts": set(),
    "convolution": {"depthwise", "grouped", "patches", "pointwise"},
    "depthwise": set(),
    "grouped": set(),
    "patches": set(),
    "pointwise": set(),
    "precision": set(),
    "sharding": set(),
    "files": set(),
    **{room: set(CORE[:index]) for index, room in enumerate(CORE)},
    "maskfile": {"tree", "mask", "files"},
    **{room: {"files"} for room in APART},
    "train": {"tree", "mask", "loss", "files"},
    "evaluate": set(),
    "adapter": {*CORE, "train", "model", "evaluate"},
    "task": {"tree", "mask", "adapter", "maskfile", "model", "data", "evaluate", "files"},
    "run": {*LEARNED, "files"},
    "report": {"tree", "mask", "maskfile", "train", "run", "files"},
    "recipe": {*LEARNED, "files", "run", "report"},
    "engine": {"files", "run", "recipe"},
    "cli": {*LEARNED, "files", "run", "report", "recipe", "engine"},
    **{entry: {"cli"} for entry in ("__main__", "list", "main", "sweep", "masks", "prepare")},
    "__init__": {*CORE, "signals"},
}
# further imports of single modules: a lazy alias, and the modules that start commands
BESIDES = {
    "mask/__init__.py": {"maskfile"},
    "task/__main__.py": {"cli"},
    "run/__main__.py": {"cli"},
    "report/__main__.py": {"cli"},
}
# the one module of a room that another room may import
ONLY = {("report", "run"): "run.result", ("report", "train"): "train.records"}
CORE_LIBRARIES = {"jax", "numpy", *sys.stdlib_module_names}
FILE_LIBRARIES = {"os", "pathlib", "shutil", "tempfile"}
# compiled codecs of mask files, imported when a file is written or read
INSIDE_FUNCTIONS = {"maskfile/codec.py": {"cramjam"}, "maskfile/entropy.py": {"constriction"}}
HEAVY = {"cramjam", "constriction"}
NOWHERE = {"tensorflow", "torch"}
TORCH_INSIDE_FUNCTIONS = "model/torch_file.py"


def imports(source: str, package: tuple[str, ...]) -> list[tuple[int, str, bool]]:
    """(line, dotted name, inside a function) of all imports of a module of `package`."""
    found = []

    def visit(node: ast.AST, inside: bool) -> None:
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else ()
            base = ".".join([*start, *([node.module] if node.module else [])])
            # `from jaxmask import tree` imports jaxmask.tree
            names = [f"{base}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if called in ("import_module", "__import__"):
                names = [str(node.args[0].value)]
        found.extend((node.lineno, name, inside) for name in names)
        inside = inside or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in ast.iter_child_nodes(node):
            visit(child, inside)

    visit(ast.parse(source), False)
    return found


def violations(file: str, source: str) -> list[str]:
    """The violations in a module, given its path inside the package."""
    parts = file.removesuffix(".py").split("/")
    room = parts[0]
    if room not in MAY_IMPORT:
        return [f"{file}: no rule for {room!r}; name it in MAY_IMPORT"]
    found = []
    for line, name, inside in imports(source, ("jaxmask", *parts[:-1])):
        library, _, rest = name.partition(".")
        why = ""
        if library == "jaxmask":
            other = rest.split(".")[0]
            allowed = {room, *EVERYBODY_MAY, *MAY_IMPORT[room], *BESIDES.get(file, ())}
            only = ONLY.get((room, other), "")
            # a name that is not a room is an attribute of jaxmask itself
            if other not in allowed and (other in MAY_IMPORT or not other):
                why = f"{room} may not import {other or 'the whole package'}"
            elif not rest.startswith(only):
                why = f"of {other}, {room} may import {only} alone"
        elif library in NOWHERE:
            if not (library == "torch" and file == TORCH_INSIDE_FUNCTIONS and inside):
                why = f"nothing imports {library}"
        elif library in HEAVY:
            if not (inside and library in INSIDE_FUNCTIONS.get(file, ())):
                why = f"{library} is imported inside the functions of one module"
        elif room in CORE and library not in CORE_LIBRARIES:
            why = f"{room} imports JAX and nothing above it"
        elif room in CORE and library in FILE_LIBRARIES:
            why = f"{room} touches no files"
        if why:
            found.append(f"{file}:{line}: {name}: {why}")
    return found


MODULES = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("file", MODULES)
def test_imports_run_one_way(file):
    found = violations(file, (PACKAGE / file).read_text())
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("tree.py", "from jaxmask.mask import threshold"),
        ("mask/new.py", "from jaxmask import tree, prune"),
        ("mask/new.py", "def f():\n    from jaxmask.score import snip"),
        ("mask/new.py", "from .. import score"),
        ("mask/new.py", "from ..score.snip import snip"),
        ("mask/deep/new.py", "from ...score import snip"),
        ("mask/new.py", "import jaxmask"),
        ("mask/new.py", "import flax.linen as nn"),
        ("score/new.py", "import optax"),
        ("score/new.py", "if True:\n    import sklearn"),
        ("prune/new.py", "from orbax import checkpoint"),
        ("prune/new.py", "import importlib\nimportlib.import_module('jaxmask.model')"),
        ("mask/new.py", "from pathlib import Path"),
        ("mask/new.py", "import importlib\nimportlib.import_module('jaxmask.maskfile')"),
        ("mask/new.py", "from jaxmask import files"),
        ("maskfile/codec.py", "import cramjam"),
        ("maskfile/entropy.py", "from constriction.stream import stack"),
        ("maskfile/file.py", "def f():\n    import cramjam"),
        ("maskfile/new.py", "from jaxmask import score"),
        ("score/codec.py", "def f():\n    import cramjam"),
        ("files.py", "from jaxmask import tree"),
        ("adapter/new.py", "from jaxmask.task import load"),
        ("adapter/new.py", "from jaxmask import files"),
        ("task/new.py", "from jaxmask.run import starting"),
        ("run/new.py", "from jaxmask import report"),
        ("run/new.py", "from jaxmask.recipe import adapt"),
        ("report/new.py", "from jaxmask.run import driver"),
        ("task/learned.py", "from jaxmask.cli import task"),
        ("model/new.py", "from jaxmask import mask"),
        ("loss/new.py", "import jaxmask.data"),
        ("train/new.py", "from jaxmask.model import create"),
        ("evaluate/new.py", "from jaxmask.tree import paths"),
        ("report/new.py", "from jaxmask.recipe import adapt"),
        ("recipe/new.py", "from jaxmask.cli import run"),
        ("masks.py", "from jaxmask.recipe import adapt"),
        ("data/new.py", "import tensorflow as tf"),
        ("model/torch_file.py", "import torch"),
        ("model/new.py", "def f():\n    import torch"),
        ("errors.py", "from jaxmask import tree"),
        ("helpers/new.py", "import jax"),
    ],
)
def test_a_violation_is_found(file, source):
    assert len(violations(file, source)) == 1


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("mask/new.py", "from jaxmask.tree import paths\nfrom jaxmask.errors import InputError"),
        ("mask/new.py", "from . import select\nfrom .select import keep_top\nfrom .. import tree"),
        ("files.py", "import os\nfrom jaxmask.errors import InputError"),
        ("mask/__init__.py", "import importlib\nimportlib.import_module('jaxmask.maskfile')"),
        ("maskfile/codec.py", "def f():\n    import cramjam"),
        ("maskfile/entropy.py", "def f():\n    from constriction.stream import model, stack"),
        ("task/__main__.py", "from jaxmask.cli.task import run"),
        ("report/new.py", "from jaxmask.run.result import read"),
        ("prune/new.py", "from jaxmask import mask, score, tree\nimport jax.numpy, math"),
        ("model/torch_file.py", "def f():\n    import torch"),
        ("recipe/new.py", "from jaxmask import data, evaluate, report, __version__"),
        ("data/new.py", "import tensorflow_datasets"),
        ("main.py", "from jaxmask.cli.run import main"),
        ("cli/run.py", "from jaxmask import recipe"),
    ],
)
def test_what_is_allowed_passes(file, source):
    assert violations(file, source) == []


def test_the_library_alone_imports_jax_numpy_and_optax():
    """What `import jaxmask` brings in beyond JAX and optax is its own."""
    code = (
        "import sys, jax, optax; before = set(sys.modules); import jaxmask; "
        "print(*{name.partition('.')[0] for name in set(sys.modules) - before})"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    more = set(found.stdout.split()) - set(sys.stdlib_module_names)
    assert more <= {"jaxmask", "jax", "jaxlib", "numpy", "optax"}
