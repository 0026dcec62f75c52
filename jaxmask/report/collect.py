"""Finished runs as a table: one row per run."""

import io
import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from jaxmask import files, signals
from jaxmask.errors import InputError
from jaxmask.report import find, methods
from jaxmask.run.result import Result, read

# settings of a run; always present, so that runs of any recipe can be combined
SETTINGS = ("recipe", "dataset", "network", "method", "schedule", "target_density", "shots",
            "rounds", "seed")  # fmt: skip
OUTCOMES = ("density", "accuracy", "chosen_step", "initial_sha256")


def collect(folders: Iterable[str | Path]) -> pd.DataFrame:
    """One row per finished run, of the given run directories and of those below given folders.

    Each method of a run that compares some (`adapt`, `self_mask`, `cascade`) is a run, see
    `methods.expand`, with the config fields that matter for it.

    Columns: the numbers, strings and booleans of `result.json`, unchanged (accuracy is a fraction;
    fields that a run lacks are missing); `empty_leaves`, their number; `initial_sha256`;
    `config.FIELD.FIELD` for every field of `config.json` that differs between these runs and
    repeats none of the settings in `result.json`; `folder`. See `find.find` for what is a run.

    Unfinished runs are left out, and reported on stderr.

    Raises:
      InputError: no finished run is found, a folder does not exist, or a file is damaged.
    """
    folders = list(folders)
    finished, unfinished = methods.expand(*find.find(folders))
    if unfinished:
        print(f"jaxmask: {_unfinished(unfinished)}", file=sys.stderr)
    if not finished:
        where = ", ".join(map(str, folders)) or "nothing"
        raise InputError(
            f"no finished run (a folder with a result.json) in {where}; finish a run or give "
            "another folder"
        )
    results = []
    for folder in finished:
        signals.obey()
        results.append(_scalars(read(folder)))
    names = dict.fromkeys([*SETTINGS, *OUTCOMES, *(name for row in results for name in row)])
    columns = {name: [row.get(name) for row in results] for name in names}
    configs = [_config(folder, row) for folder, row in zip(finished, results)]
    for field in sorted({field for config in configs for field in config}, key=find.natural):
        values = [config.get(field) for config in configs]
        if len({_text(value) for value in values if value is not None}) > 1 and not any(
            _repeats(values, columns[name]) for name in SETTINGS
        ):
            columns[f"config.{field}"] = values
    columns["folder"] = [str(folder) for folder in finished]
    return pd.DataFrame({name: _column(values) for name, values in columns.items()})


def write_table(frame: pd.DataFrame, path: str | Path) -> None:
    """Writes a table atomically, in the format of its suffix, `.csv` or `.parquet`.

    Raises:
      InputError: for another suffix.
    """
    path = Path(path)
    if path.suffix == ".csv":
        files.replace(path, frame.to_csv(index=False).encode())
    elif path.suffix == ".parquet":
        content = io.BytesIO()
        frame.to_parquet(content, index=False)
        files.replace(path, content.getvalue())
    else:
        raise InputError(f"{path}: the name of a table must end in .csv or .parquet")


def _unfinished(folders: Mapping[Path, str]) -> str:
    told = [f"{folder}{more}" for folder, more in folders.items()]
    shown = ", ".join(told[:3]) + (", ..." if len(folders) > 3 else "")
    runs = "1 unfinished run is" if len(folders) == 1 else f"{len(folders)} unfinished runs are"
    return f"{runs} left out: {shown}"


def _config(folder: Path, row: dict[str, Any]) -> dict[str, Any]:
    config = find.read_config(folder)
    if row.get("recipe") in methods.RECIPES:
        return methods.own_fields(config, str(row.get("method")))
    return config


def _scalars(result: Result) -> dict[str, Any]:
    row = {
        name: value
        for name, value in result.as_json().items()
        if value is None or isinstance(value, bool | int | float | str)
    }
    row["empty_leaves"] = len(result.empty_leaves)
    if isinstance(result.more.get("initial"), dict):
        row["initial_sha256"] = result.more["initial"].get("sha256")
    return row


def _repeats(values: list[Any], column: list[Any]) -> bool:
    return all(value is None or value == known for value, known in zip(values, column))


def _column(values: list[Any]) -> pd.Series:
    """The values as one type; text if they have several, which Parquet does not support."""
    kinds = {
        "truth" if isinstance(value, bool) else "text" if isinstance(value, str) else "number"
        for value in values
        if value is not None
    }
    if kinds == {"truth"}:
        return pd.Series(values, dtype="boolean" if None in values else "bool")
    if kinds <= {"number"}:
        whole = all(isinstance(value, int) and abs(value) < 2**63 for value in values)
        return pd.Series(values, dtype="int64" if whole else "float64")
    return pd.Series(
        [value if value is None or isinstance(value, str) else _text(value) for value in values],
        dtype="object",
    )


def _text(value: Any) -> str:
    return json.dumps(value)
