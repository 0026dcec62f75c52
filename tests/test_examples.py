"""The examples in the docstrings run, and every public name has one."""

import doctest
import importlib
import pkgutil
import sys

import jax
import jax.numpy as jnp
import pytest

from jaxmask import mask, prune, score, tree

ROOMS = (tree, mask, score, prune)
# helpers of other modules, and types
WITHOUT = (tree.is_floating, tree.align, tree.some, tree.has_leaves_at, tree.PyTree, prune.Report)
MODULES = [
    f"{room.__name__}.{module.name}"
    for room in ROOMS
    for module in pkgutil.iter_modules(room.__path__)
]


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name):
    importlib.import_module(name)
    names = {"jax": jax, "jnp": jnp, "mask": mask, "prune": prune, "score": score, "tree": tree}
    # from sys.modules, as a function may have the name of its module
    results = doctest.testmod(sys.modules[name], extraglobs=names)
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
