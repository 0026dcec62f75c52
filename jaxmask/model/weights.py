"""Weights with this package's names: safetensors files whose names are paths."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from flax import traverse_util
from safetensors import SafetensorError
from safetensors.numpy import save as to_safetensors

from jaxmask import files
from jaxmask.errors import InputError
from jaxmask.model import checkpoint

NAME = "weights.safetensors"  # in a run directory


def save(path: Path, variables: Mapping[str, Any], about: Mapping[str, Any]) -> int:
    """Writes trees of arrays, leaves named by their paths; returns the size in bytes.

    Args:
      variables: nested dicts; leaves that are None are left out.
      about: JSON values by name for the header: the network, its width and classes, the
        normalization.
    """
    flat = {
        name: np.asarray(leaf, order="C")
        for name, leaf in traverse_util.flatten_dict(dict(variables), sep="/").items()
        if leaf is not None
    }
    header = {key: json.dumps(value) for key, value in about.items()}
    content = to_safetensors(dict(sorted(flat.items())), header)
    files.replace(path, content)
    return len(content)


def load(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Reads what `save` wrote: (nested dict of arrays, `about`).

    Args:
      path: a safetensors file, or a run directory with a `weights.safetensors`.

    Raises:
      InputError: there is no such file, it cannot be read, or a variance in it is negative.
    """
    file = path / NAME if path.is_dir() else path
    if not file.exists():
        raise InputError(
            f"there are no weights at {file}; give a finished run directory of the recipe "
            "'dense' or a .safetensors file"
        )
    try:
        flat, texts = checkpoint.arrays(file)
        about = {key: json.loads(value) for key, value in texts.items()}
        variables = traverse_util.unflatten_dict(flat, sep="/")
    except (
        SafetensorError, ValueError, OSError, TypeError, LookupError, RecursionError
    ) as error:  # fmt: skip
        raise InputError(f"{file} is not a safetensors file of this project ({error})") from None
    check_variances(variables, file)
    return variables, about


def check_variances(variables: Mapping[str, Any], file: Path) -> None:
    """Raises InputError, naming file and leaf, if a variance in "batch_stats" is negative."""
    for name, leaf in traverse_util.flatten_dict(dict(variables), sep="/").items():
        if re.fullmatch("batch_stats/(.*/)?var", name) and (np.asarray(leaf) < 0).any():
            raise InputError(
                f"{file}: the variance {name!r} is negative: the file is damaged; "
                "give other weights"
            )
