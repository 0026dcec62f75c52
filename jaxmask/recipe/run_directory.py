"""A run's directory: its config, its result, its weights; whole files or none."""

import json
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from flax import traverse_util
from ml_collections import ConfigDict
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as to_safetensors

from jaxmask.errors import InputError
from jaxmask.train.records import replace_file, replace_text

LIBRARIES = ("jaxmask", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


def begin(folder: Path, config: ConfigDict) -> dict[str, Any] | None:
    """Makes the run directory, or opens the one of the same config that is there.

    Returns:
      The result, where the run is finished already; else None.

    Raises:
      InputError: the directory belongs to another config.
    """
    finished = result_of(folder, config)
    if not (folder / "config.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        replace_text(folder / "config.json", json.dumps(to_json(config), indent=2) + "\n")
    return finished


def result_of(folder: Path, config: ConfigDict) -> dict[str, Any] | None:
    """The result of a finished run of this config, or None; makes nothing.

    Raises:
      InputError: the directory belongs to another config.
    """
    wanted = to_json(config)
    path = folder / "config.json"
    if path.exists():
        found = _read_json(path)
        if found != wanted:
            fields = ", ".join(_differences(found, wanted)[:3])
            raise InputError(
                f"{folder} holds a run of another config (it differs in {fields}); "
                "give another --workdir or delete it"
            )
    path = folder / "result.json"
    if not path.exists():
        return None
    result = _read_json(path)
    if not {"accuracy", "dataset", "method", "seconds"} <= result.keys():
        raise InputError(f"{path} is no result of this project; delete the run directory")
    return result


def finish(folder: Path, result: Mapping[str, Any]) -> dict[str, Any]:
    """Writes result.json, last and whole; with it the run counts as finished."""
    complete = {**result, "versions": {name: metadata.version(name) for name in LIBRARIES}}
    # JSON has no NaN and no infinity: they become null
    complete = json.loads(json.dumps(complete), parse_constant=lambda _: None)
    replace_text(folder / "result.json", json.dumps(complete, indent=2) + "\n")
    return complete


def to_json(config: ConfigDict) -> dict[str, Any]:
    """The config as JSON gives it back: tuples are lists."""
    return json.loads(config.to_json())


def save_weights(path: Path, variables: Mapping[str, Any], about: Mapping[str, Any]) -> int:
    """Writes trees of arrays as safetensors, leaves named by their paths; returns the bytes.

    `about` lies in the header: the network, its width and classes, the normalization.
    """
    flat = {
        name: np.ascontiguousarray(leaf)
        for name, leaf in traverse_util.flatten_dict(dict(variables), sep="/").items()
        if leaf is not None
    }
    content = to_safetensors(
        dict(sorted(flat.items())), {key: json.dumps(value) for key, value in about.items()}
    )
    replace_file(path, content)
    return len(content)


def load_weights(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Reads what `save_weights` wrote: (nested dict of arrays, what it is about).

    Args:
      path: a safetensors file, or a run directory with a `weights.safetensors`.

    Raises:
      InputError: there is no such file, or it cannot be read.
    """
    file = path / "weights.safetensors" if path.is_dir() else path
    if not file.exists():
        raise InputError(
            f"there are no weights at {file}; give a finished run directory of the recipe "
            "'dense' or a .safetensors file"
        )
    try:
        with safe_open(str(file), framework="numpy") as weights:
            about = {key: json.loads(value) for key, value in (weights.metadata() or {}).items()}
            flat = {name: weights.get_tensor(name) for name in weights.keys()}  # noqa: SIM118
        return traverse_util.unflatten_dict(flat, sep="/"), about
    except (SafetensorError, ValueError, OSError, TypeError, LookupError) as error:
        raise InputError(f"{file} is no safetensors file of this project ({error})") from None


def _read_json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text())
    except (json.JSONDecodeError, UnicodeDecodeError):
        found = None
    if not isinstance(found, dict):
        raise InputError(f"{path} is not valid JSON; delete the run directory to start again")
    return found


def _differences(found: Any, wanted: Any, at: str = "") -> list[str]:
    if isinstance(found, dict) and isinstance(wanted, dict):
        names = sorted(found.keys() | wanted.keys())
        return [
            difference
            for name in names
            for difference in _differences(
                found.get(name), wanted.get(name), f"{at}.{name}" if at else name
            )
        ]
    return [] if found == wanted else [f"{at}: {found} there, {wanted} asked for"]
