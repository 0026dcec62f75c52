"""Imports run one way (design, section 1): who may import whom, read from the source with ast."""

import ast
import sys
from pathlib import Path

import pytest

import jaxmask

PACKAGE = Path(jaxmask.__file__).parent

CORE = ("tree", "mask", "score", "prune")
APART = ("model", "data", "loss")
BELOW_RECIPES = {*CORE, *APART, "train", "evaluate"}

EVERYBODY_MAY = {"errors", "convolution"}
# room or module -> the others that it may import besides
MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "convolution": set(),
    **{room: set(CORE[:index]) for index, room in enumerate(CORE)},
    **{room: set() for room in APART},
    "train": {"tree", "mask", "loss"},
    "evaluate": set(),
    "report": BELOW_RECIPES,
    "recipe": BELOW_RECIPES | {"report", "mask_files"},
    "main": BELOW_RECIPES | {"report", "recipe"},
    "sweep": BELOW_RECIPES | {"report", "recipe", "main"},
    "mask_files": {"mask", "model"},
    "masks": {"mask", "model", "mask_files"},
    "task": BELOW_RECIPES | {"report", "recipe"},
    "__init__": set(CORE),
}
CORE_LIBRARIES = {"jax", "numpy", *sys.stdlib_module_names}
FILE_LIBRARIES = {"os", "pathlib", "shutil", "tempfile"}
MAY_TOUCH_FILES = "mask/file.py"
# compiled codecs of mask files, imported when a file is written or read
INSIDE_FUNCTIONS = {"mask/codec.py": {"cramjam"}, "mask/entropy.py": {"constriction"}}
NOWHERE = {"tensorflow", "torch"}
TORCH_INSIDE_FUNCTIONS = "model/pretrained.py"


def imports(source: str, package: tuple[str, ...]) -> list[tuple[int, str, bool]]:
    """(line, dotted name, inside a function) of all that a module of `package` imports."""
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
    """What breaks the rule in a module, given its path inside the package."""
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
            allowed = {room, *EVERYBODY_MAY, *MAY_IMPORT[room]}
            # a name that is no room is an attribute of jaxmask itself
            if other not in allowed and (other in MAY_IMPORT or not other):
                why = f"{room} may not import {other or 'the whole package'}"
        elif library in NOWHERE:
            if not (library == "torch" and file == TORCH_INSIDE_FUNCTIONS and inside):
                why = f"nothing imports {library}"
        elif inside and library in INSIDE_FUNCTIONS.get(file, ()):
            continue
        elif room in CORE and library not in CORE_LIBRARIES:
            why = f"{room} imports JAX and nothing above it"
        elif room in CORE and library in FILE_LIBRARIES and file != MAY_TOUCH_FILES:
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
        ("mask/codec.py", "import cramjam"),
        ("mask/entropy.py", "from constriction.stream import stack"),
        ("mask/file.py", "def f():\n    import cramjam"),
        ("score/codec.py", "def f():\n    import cramjam"),
        ("model/new.py", "from jaxmask import mask"),
        ("loss/new.py", "import jaxmask.data"),
        ("train/new.py", "from jaxmask.model import create"),
        ("evaluate/new.py", "from jaxmask.tree import paths"),
        ("report/new.py", "from jaxmask.recipe import adapt"),
        ("recipe/new.py", "from jaxmask import main"),
        ("masks.py", "from jaxmask.recipe import adapt"),
        ("data/new.py", "import tensorflow as tf"),
        ("model/pretrained.py", "import torch"),
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
        ("mask/file.py", "import os"),
        ("mask/codec.py", "def f():\n    import cramjam"),
        ("mask/entropy.py", "def f():\n    from constriction.stream import model, stack"),
        ("prune/new.py", "from jaxmask import mask, score, tree\nimport jax.numpy, math"),
        ("model/pretrained.py", "def f():\n    import torch"),
        ("recipe/new.py", "from jaxmask import data, evaluate, report, __version__"),
        ("data/new.py", "import tensorflow_datasets"),
        ("main.py", "from jaxmask import recipe"),
    ],
)
def test_what_is_allowed_passes(file, source):
    assert violations(file, source) == []
