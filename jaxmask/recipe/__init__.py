"""Whole experiments, one file each, by the name that a config gives them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from jaxmask.errors import InputError, nearest
from jaxmask.recipe import adapt, dense

RECIPES: dict[str, Callable[[ConfigDict, Path], dict[str, Any]]] = {
    "adapt": adapt.run,
    "dense": dense.run,
}


def run(config: ConfigDict, folder: Path) -> dict[str, Any]:
    """Runs the config's recipe in the run directory `folder`; gives what `result.json` holds."""
    if config.recipe not in RECIPES:
        raise InputError(f"unknown recipe {config.recipe!r}{nearest(config.recipe, RECIPES)}")
    return RECIPES[config.recipe](config, folder)
