"""The examples in the docstrings run, and every public name has one."""

import doctest
import importlib.util
import pkgutil
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

import jaxmask
from jaxmask import mask, maskfile, prune, score, tree

ROOMS = (tree, mask, score, prune)
# what examples use besides their own module's names
NAMES = {"jax": jax, "jnp": jnp, "mask": mask, "maskfile": maskfile, "prune": prune,
         "score": score, "tree": tree}  # fmt: skip
# helpers of other modules, and types
WITHOUT = (tree.is_floating, tree.align, tree.some, tree.has_leaves_at, tree.PyTree, prune.Report)
# all modules with examples, except the commands
MODULES = [
    module.name
    for module in pkgutil.walk_packages(jaxmask.__path__, "jaxmask.")
    if not module.ispkg
    and ".cli." not in module.name
    and ">>>" in Path(importlib.util.find_spec(module.name).origin).read_text()
]


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name, quick_compilation, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    importlib.import_module(name)
    module = sys.modules[name]  # a function may have the name of its module
    results = doctest.testmod(module, extraglobs={**NAMES, **vars(module)})
    assert results.failed == 0


def test_every_public_function_has_an_example():
    functions = [getattr(room, name) for room in ROOMS for name in room.__all__]
    for module in (mask.measure, mask.file):
        functions += [
            value
            for name, value in vars(module).items()
            if callable(value)
            and not name.startswith("_")
            and getattr(value, "__module__", "") == module.__name__
        ]
    for function in functions:
        if callable(function) and function not in WITHOUT:
            assert ">>>" in function.__doc__, function
