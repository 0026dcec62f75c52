"""The methods of runs that compare some: each has its own run directory below the run's."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jaxmask.errors import InputError
from jaxmask.report import find
from jaxmask.run.result import read

RECIPES = ("adapt", "self_mask")
# fields that do not affect how a single method is trained
NOT_OF_A_METHOD = ("methods", "grid", "together", "few_labels")


def expand(
    finished: Sequence[Path], unfinished: Sequence[Path]
) -> tuple[list[Path], dict[Path, str]]:
    """The result of `find.find`, with each `adapt` run replaced by its methods' run directories.

    The settings that a method tried (`METHOD/choices/...`) are left out even if given themselves:
    they have no test accuracy.

    Returns:
      Finished runs; unfinished ones with a note, such as which methods of an unfinished `adapt`
      run are included in the finished runs.

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
                    f"{folder} is a run of 'adapt', but {method.name}/result.json is missing; "
                    "restore it or leave the run out"
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

    Args:
      config: from `find.read_config`.
    """
    # sections with choices belong to methods
    sections = {name.removesuffix(".choices") for name in config if name.endswith(".choices")}
    others = sections - {method}
    if config.get(f"{method}.density") == 0:
        others -= {"mask"}
    return {
        name: value
        for name, value in config.items()
        if name.partition(".")[0] not in (*others, *NOT_OF_A_METHOD)
    }


def _planned(folder: Path) -> list[Path]:
    """The methods' run directories of an unfinished run that compares some; none for others."""
    try:
        config = find.read_config(folder)
        if config.get("recipe") not in RECIPES:
            return []
        return _folders(folder, json.loads(config.get("methods", "[]")))
    except (InputError, TypeError, ValueError):
        return []  # reported as unfinished anyway


def _folders(folder: Path, names: Any) -> list[Path]:
    return [folder / name for name in names if isinstance(name, str)]
