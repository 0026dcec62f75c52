"""Finds run directories and reads their configs."""

import json
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from jaxmask import files
from jaxmask.errors import InputError


def find(folders: Iterable[str | Path]) -> tuple[list[Path], list[Path]]:
    """(finished, unfinished) run directories: the given folders, or those below them.

    A run is finished if it has a `result.json`, unfinished with only a `config.json`. Folders below
    a run, such as the rounds of a lottery, are part of it and found only if given themselves. Links
    are not followed, hidden folders not searched.

    Returns:
      Paths in the given order, then by name (`seed2` before `seed10`), without duplicates.

    Raises:
      InputError: a path does not exist, or is not a folder.
    """
    finished: dict[Path, Path] = {}  # resolved -> as given
    unfinished: dict[Path, Path] = {}
    for folder in map(Path, folders):
        if not folder.is_dir():
            what = "is not a folder" if folder.exists() else "does not exist"
            raise InputError(f"{folder} {what}; give run directories, or folders of them")
        for place, inside, names in os.walk(folder):
            path = Path(place)
            if "result.json" in names or "config.json" in names:
                found = finished if "result.json" in names else unfinished
                found.setdefault(path.resolve(), path)
                inside.clear()
            inside[:] = sorted((name for name in inside if name[0] != "."), key=natural)
    return list(finished.values()), list(unfinished.values())


def read_config(folder: Path) -> dict[str, Any]:
    """The `config.json` of a run, flattened: `{"train.epochs": 5}`.

    Empty if the run has none; lists are given as JSON text.

    Raises:
      InputError: it cannot be read, or is not a config of this project.
    """
    path = folder / "config.json"
    if not path.exists():
        return {}
    return _flat(files.read_json(path, "delete the run directory or leave it out"))


def natural(text: str) -> list[tuple[int, int, str]]:
    """A sort key for names that compares numbers in them by value."""
    parts = re.split(r"(\d+)", str(text))
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts if part]


def _flat(config: dict[str, Any], at: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, dict):
            found |= _flat(value, f"{at}{name}.")
        else:
            found[at + name] = json.dumps(value) if isinstance(value, list) else value
    return found
