"""A run directory: created with its config, finished with its result."""

import json
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from jaxmask import files
from jaxmask.errors import InputError
from jaxmask.run import result
from jaxmask.run.defaults import RENAMED
from jaxmask.run.result import Result

AGAIN = "delete the run directory to start again"


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
