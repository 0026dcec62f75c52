"""A run directory: created with its config, finished with its result."""

import json
from collections.abc import Generator
from pathlib import Path
from typing import Any, TypeVar

from ml_collections import ConfigDict

from jaxmask import files, signals
from jaxmask.errors import InputError
from jaxmask.run import result
from jaxmask.run.defaults import RENAMED
from jaxmask.run.result import Result

AGAIN = "delete the run directory to start again"
LOCK = ".lock"  # held while a process runs here

Wanted = TypeVar("Wanted")
Given = TypeVar("Given")


def alone_in(
    folder: Path, config: ConfigDict, experiment: Generator[Wanted, Given, Result]
) -> Generator[Wanted, Given, Result]:
    """The experiment, while no other process may run in the folder, above it or below it.

    What killed processes have left of their files is removed first. A finished run is not locked.

    Raises:
      InputError: the directory belongs to another config, it holds other runs, or another process
        is running there.
    """
    finished = result_of(folder, config)
    if finished is not None:
        return finished
    refuse_taken(folder)
    signals.obey()
    with files.locked(folder / LOCK) as mine:
        if not mine:
            raise _taken(folder, files.holder(folder / LOCK) or "another process")
        files.sweep(folder)
        return (yield from experiment)


def is_run(folder: Path) -> bool:
    """Whether a folder is a run directory, finished or not."""
    try:
        return "recipe" in files.read_json(folder / "config.json", AGAIN)
    except InputError:
        return False


def refuse_taken(folder: Path) -> None:
    """Refuses a folder that is not free for a run.

    Raises:
      InputError: a process is running in the folder, above it or below it; or the folder is no
        run's, but holds runs. A report looks for no runs below a run, and would lose them.
    """
    above = (each for each in folder.absolute().parents if (each / "config.json").exists())
    below = (each.parent for each in folder.glob(f"**/{LOCK}"))
    for place in (folder, *above, *below):
        if who := files.holder(place / LOCK):
            raise _taken(place, who)
    if (folder / "config.json").exists():
        return  # the runs in it are its own
    for found in sorted(folder.glob("**/config.json")):
        if is_run(found.parent):
            raise InputError(
                f"{folder} holds other runs, such as {found.parent.relative_to(folder)}, which "
                "reports would no longer find; give another --workdir"
            )


def _taken(folder: Path, who: str) -> InputError:
    return InputError(f"{who} is running in {folder}; wait for its end, or give another --workdir")


def begin(folder: Path, config: ConfigDict) -> Result | None:
    """Creates the run directory, or opens the existing one of the same config.

    Returns:
      The result if the run is already finished, else None.

    Raises:
      InputError: the directory belongs to another config.
    """
    finished = result_of(folder, config)
    if not (folder / "config.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        files.write_json(folder / "config.json", to_json(config))
    return finished


def result_of(folder: Path, config: ConfigDict) -> Result | None:
    """The result of a finished run of this config, or None; creates nothing.

    Raises:
      InputError: the directory belongs to another config.
    """
    path = folder / "config.json"
    if path.exists():
        _check_same(folder, files.read_json(path, AGAIN), to_json(config))
    return result.read(folder) if (folder / result.NAME).exists() else None


def of_methods(config: ConfigDict, *methods: str) -> ConfigDict:
    """The config for the run directory of a part of a comparison: with these methods alone."""
    own = config.copy_and_resolve_references()
    if "methods" in own:
        own.methods = methods
    return own


def to_json(config: ConfigDict) -> dict[str, Any]:
    """The config as JSON gives it back: tuples are lists."""
    return json.loads(config.to_json())


def _check_same(folder: Path, found: dict[str, Any], wanted: dict[str, Any]) -> None:
    differences = _differences(found, wanted)
    if not differences:
        return
    if {name for place in differences for name in place.split(".")} & RENAMED.keys():
        raise InputError(
            f"{folder} was started by an earlier version of jaxmask with other config fields; "
            "give another --workdir (a finished run can still be reported and its masks used)"
        )
    told = [
        f"{place}: {values[0]} there, {values[1]} asked for"
        for place, values in differences.items()
    ]
    raise InputError(
        f"{folder} holds a run of another config (it differs in {', '.join(told[:3])}); "
        "give another --workdir or delete it"
    )


def _differences(found: Any, wanted: Any, at: str = "") -> dict[str, tuple[Any, Any]]:
    """The fields that differ between two configs, with both values."""
    if not (isinstance(found, dict) and isinstance(wanted, dict)):
        return {} if found == wanted else {at: (found, wanted)}
    differences: dict[str, tuple[Any, Any]] = {}
    for name in sorted(found.keys() | wanted.keys()):
        place = f"{at}.{name}" if at else name
        differences |= _differences(found.get(name), wanted.get(name), place)
    return differences
