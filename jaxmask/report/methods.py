"""The methods of `adapt` runs: each has a run directory of its own beneath the run's."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jaxmask.errors import InputError
from jaxmask.report import find
from jaxmask.run.result import read

RECIPE = "adapt"
# which methods, and how many runs at once: a method is trained the same whatever they say
NOT_OF_A_METHOD = ("methods", "grid", "together")


def expand(
    finished: Sequence[Path], unfinished: Sequence[Path]
) -> tuple[list[Path], dict[Path, str]]:
    """What `find.find` gives, with the methods' run directories in the place of an `adapt` run.

    The settings that a method tried (`METHOD/choices/...`) are left out also where they are given
    themselves: nobody read the test split with them.

    Returns:
      Finished runs; unfinished ones with what is to be told of them, such as which methods of an
      unfinished `adapt` run are among the finished runs nevertheless.

    Raises:
      InputError: a `result.json` is damaged, or methods of a finished run are not there.
    """
    found: dict[Path, Path] = {}  # resolved -> as given
    told: dict[Path, str] = {}
    for folder in finished:
        result = read(folder)
        names = result.more.get("methods") if result.recipe == RECIPE else None
        if names is None:
            if result.recipe != RECIPE or result.accuracy is not None:
                found.setdefault(folder.resolve(), folder)
            continue
        for method in _folders(folder, names):
            if not (method / "result.json").exists():
                raise InputError(
                    f"{folder} is a run of 'adapt', but {method.name}/result.json is not beneath "
                    "it; bring it back or leave the run out"
                )
            found.setdefault(method.resolve(), method)
    for folder in unfinished:
        ready = [method for method in _planned(folder) if (method / "result.json").exists()]
        for method in ready:
            found.setdefault(method.resolve(), method)
        names = ", ".join(method.name for method in ready)
        told[folder] = f" (but for its finished methods: {names})" if ready else ""
    return list(found.values()), told


def own_fields(config: dict[str, Any], method: str) -> dict[str, Any]:
    """The fields of a config that matter for a method: not those of other methods.

    A `mask_topk` of density 0 has the density that `mask` found, and so the fields of `mask` too.

    Args:
      config: of `find.read_config`.
    """
    # a section with choices is a method's
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
    """The methods' run directories of an unfinished `adapt` run; none of any other run."""
    try:
        config = find.read_config(folder)
        if config.get("recipe") != RECIPE:
            return []
        return _folders(folder, json.loads(config.get("methods", "[]")))
    except (InputError, TypeError, ValueError):
        return []  # it is unfinished, and told so; more need not be known of it


def _folders(folder: Path, names: Any) -> list[Path]:
    return [folder / name for name in names if isinstance(name, str)]
