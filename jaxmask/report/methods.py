"""The methods of runs that compare some: each has its own run directory below the run's."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jaxmask.errors import InputError
from jaxmask.report import find
from jaxmask.run.result import read

# recipes that compare methods -> networks of theirs that `config.methods` does not name
RECIPES = {
    "adapt": (),
    "self_mask": ("untouched",),
    "cascade": ("untouched", "dispatcher", "conditional", "unconditional", "random", "long"),
}
# those that learn without labels, and then measure every network by classifiers
UNLABELED = ("self_mask", "cascade")
CLASSIFIERS = ("knn", "linear_probe")
# fields that do not affect how a single method is trained
NOT_OF_A_METHOD = ("methods", "grid", "together", "controls", "experts_together")
# fields that affect a network that is measured as it is
OF_UNTOUCHED = ("recipe", "seed", "network", "data", "start", "pretrain", *CLASSIFIERS)


def expand(
    finished: Sequence[Path], unfinished: Sequence[Path]
) -> tuple[list[Path], dict[Path, str]]:
    """The result of `find.find`, with each run that compares methods replaced by theirs.

    The settings that a method tried (`METHOD/choices/...`) are left out even if given themselves:
    they have no test accuracy.

    Returns:
      Finished runs; unfinished ones with a note, such as which methods of an unfinished run are
      included in the finished runs.

    Raises:
      InputError: a `result.json` is damaged, or methods of a finished run are missing.
    """
    found: dict[Path, Path] = {}  # resolved -> as given
    told: dict[Path, str] = {}
    for folder in finished:
        result = read(folder)
        names = result.more.get("methods") if result.recipe in RECIPES else None
        if names is None:
            if result.recipe not in RECIPES or result.accuracy is not None:
                found.setdefault(folder.resolve(), folder)
            continue
        for method in _folders(folder, names):
            if not (method / "result.json").exists():
                raise InputError(
                    f"{folder} is a run of {result.recipe!r}, but {method.name}/result.json is "
                    "missing; restore it or leave the run out"
                )
            found.setdefault(method.resolve(), method)
    for folder in unfinished:
        ready = [method for method in _planned(folder) if (method / "result.json").exists()]
        for method in ready:
            found.setdefault(method.resolve(), method)
        names = ", ".join(method.name for method in ready)
        told[folder] = f" (except its finished methods: {names})" if ready else ""
    return list(found.values()), told


def own_fields(config: dict[str, Any], method: str) -> dict[str, Any]:
    """The fields of a config that matter for a method, without those of other methods.

    With density 0, `mask_topk` has the density that `mask` found, and so also the fields of `mask`.
    All that a cascade learns is learned by `config.method`. An untouched network depends on nothing
    that is learned, a dispatcher not on the router that follows it.

    Args:
      config: from `find.read_config`.
    """
    # sections with choices belong to methods
    sections = {name.removesuffix(".choices") for name in config if name.endswith(".choices")}
    recipe, own = config.get("recipe"), {method, config.get("method")}
    if config.get(f"{method}.density") == 0:
        own.add("mask")
    if recipe in UNLABELED:
        own.update(CLASSIFIERS)
    tops = {name: name.partition(".")[0] for name in config}
    if recipe in UNLABELED and method == "untouched":
        return {name: config[name] for name, top in tops.items() if top in OF_UNTOUCHED}
    left_out = {*(sections - own), *NOT_OF_A_METHOD}
    if method == "dispatcher":
        left_out.add("router")
    return {name: config[name] for name, top in tops.items() if top not in left_out}


def section_of(config: dict[str, Any], method: str) -> str:
    """The section by which a method's own mask or weights are trained; "" if it has none.

    The masks of a cascade are trained by the section `config.method`; those that combine several
    have none of their own.

    Args:
      config: from `find.read_config`.
    """
    if config.get("recipe") != "cascade":
        return method
    return config.get("method", "mask") if method in ("dispatcher", "long") else ""


def _planned(folder: Path) -> list[Path]:
    """The methods' run directories of an unfinished run that compares some; none for others."""
    try:
        config = find.read_config(folder)
        if config.get("recipe") not in RECIPES:
            return []
        names = [*RECIPES[config["recipe"]], *json.loads(config.get("methods", "[]"))]
        return _folders(folder, dict.fromkeys(names))
    except (InputError, TypeError, ValueError):
        return []  # reported as unfinished anyway


def _folders(folder: Path, names: Any) -> list[Path]:
    return [folder / name for name in names if isinstance(name, str)]
