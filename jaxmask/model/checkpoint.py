"""A checkpoint's files, local, of the hub or of a package: the weights and what lies beside."""

import json
import math
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from jaxmask import files
from jaxmask.errors import InputError
from jaxmask.model import hub, package

SAFETENSORS = (".safetensors",)
TORCH = (".pth", ".pt", ".bin", ".ckpt", ".th", ".tar")  # the last as in .pth.tar
_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
# what the library cannot make an array of
_FLOAT8 = {"F8_E4M3": ml_dtypes.float8_e4m3fn, "F8_E5M2": ml_dtypes.float8_e5m2}
BESIDE = ("config.json", "preprocessor_config.json", "tokenizer.json")
TOKENS = ("tokenizer_config.json", "vocab.txt")  # older tokenizers


def is_path(source: str) -> bool:
    """Whether `source` is a path, and not a name "hub:..." or "package:..."."""
    return not source.startswith(("hub:", "package:"))


def find(source: str | Path) -> Path:
    """The weight file that `source` names.

    Args:
        source: a file; a folder with a model.safetensors or pytorch_model.bin; or
            "hub:owner/name", "hub:owner/name/file", fetched once by huggingface_hub;
            "package:name", the weight file that an installed distribution ships.

    Raises:
        InputError: it does not exist, or cannot be fetched.
    """
    if str(source).startswith("hub:"):
        return hub.find(str(source), _WEIGHTS, BESIDE, TOKENS)
    if str(source).startswith("package:"):
        return package.find(str(source))
    path = Path(source)
    if path.is_dir():
        found = [path / name for name in _WEIGHTS if (path / name).is_file()]
        if not found:
            raise InputError(f"{path} holds no {' and no '.join(_WEIGHTS)}; give the file itself")
        path = found[0]
    if not path.is_file():
        raise InputError(
            f"there are no weights at {path}; give a file, a folder, hub:owner/name or package:name"
        )
    if path.suffix not in SAFETENSORS + TORCH:
        raise InputError(f"{path} is not a .safetensors, .pth, .pt, .ckpt or .bin file")
    return path


def read_json(folder: Path, name: str) -> dict[str, Any]:
    """The content of a JSON file beside the weights; empty if there is none.

    Raises:
        InputError: it is not a JSON object.
    """
    path = folder / name
    return files.read_json(path, "repair or remove it") if path.is_file() else {}


def moments(folder: Path) -> tuple[list[float], list[float]] | None:
    """Mean and std of the image channels, if a file beside the weights has them.

    Raises:
        InputError: they are not three numbers each.
    """
    config = read_json(folder, "config.json")
    images = read_json(folder, "preprocessor_config.json")
    for told, mean, std in (
        (config.get("pretrained_cfg"), "mean", "std"),  # TIMM
        (config, "mean", "std"),
        (images, "image_mean", "image_std"),
    ):
        if isinstance(told, dict) and mean in told and std in told:
            return _three(told[mean], folder), _three(told[std], folder)
    return None


def moments_in(path: Path) -> tuple[list[float], list[float]] | None:
    """Mean and std of the image channels, if the header of a safetensors file has them.

    Raises:
        InputError: they are not three numbers each.
    """
    from safetensors import SafetensorError, safe_open

    if path.suffix not in SAFETENSORS:
        return None
    try:
        with safe_open(str(path), framework="numpy") as file:
            header = file.metadata() or {}
        told = [json.loads(header[name]) for name in ("mean", "std") if name in header]
    except (SafetensorError, ValueError, OSError):
        return None
    return (_three(told[0], path), _three(told[1], path)) if len(told) == 2 else None


def _three(values: Any, where: Path) -> list[float]:
    try:
        found = [float(value) for value in values]
    except (TypeError, ValueError):
        found = []
    if len(found) != 3 or not all(map(math.isfinite, found)):
        raise InputError(
            f"the mean or std that {where} gives is {values}, not 3 numbers; correct it"
        )
    return found


def read_safetensors(path: Path) -> dict[str, np.ndarray]:
    """All arrays of a safetensors file, in their stored dtypes.

    Raises:
        InputError: it is truncated, or not a safetensors file.
    """
    from safetensors import SafetensorError

    try:
        return arrays(path)[0]
    except (SafetensorError, ValueError, OSError, TypeError, LookupError) as error:
        raise InputError(f"{path} is not a complete safetensors file ({error})") from None


def arrays(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """All arrays of a safetensors file, in their stored dtypes, and the texts of its header.

    Raises:
        SafetensorError, OSError, TypeError: it is damaged, or has numbers that NumPy cannot hold.
    """
    from safetensors import deserialize, safe_open

    found: dict[str, np.ndarray] = {}
    with safe_open(str(path), framework="numpy") as file:
        texts = file.metadata() or {}
        dtypes = {name: file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118
        for name, dtype in dtypes.items():
            if dtype in _FLOAT8:
                continue
            try:
                found[name] = file.get_tensor(name)
            except AttributeError:  # it looks for the type in NumPy
                raise TypeError(f"{name} is of {dtype}; convert it to float32") from None
    if len(found) < len(dtypes):
        for name, stored in deserialize(path.read_bytes()):
            if name not in found:
                array = np.frombuffer(stored["data"], _FLOAT8[stored["dtype"]])
                found[name] = array.reshape(stored["shape"])
    return {name: found[name] for name in dtypes}, texts


def safetensors_names(path: Path) -> list[str]:
    """The names in a safetensors file's header; none if it is not such a file."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="numpy") as file:
            return list(file.keys())
    except (SafetensorError, ValueError, OSError):
        return []
