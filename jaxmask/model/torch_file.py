"""Files that PyTorch reads and writes: every dict of arrays in one, and state dicts saved."""

import io
import pickle
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxmask import files
from jaxmask.errors import InputError
from jaxmask.model import checkpoint, torch_legacy, torch_zip

State = dict[str, Any]  # tensors or arrays, by name


def read(path: Path) -> dict[str, State]:
    """All dicts of arrays in a file: {the keys that lead there, joined with dots: the dict}.

    "" is the file itself, as in a safetensors file. What is no array is left out. The arrays of a
    PyTorch file are tensors: `array` converts those that are wanted. Where PyTorch is not
    installed, `torch_zip` and `torch_legacy` read its files of tensors alone, as arrays.

    Raises:
        InputError: the file is damaged, holds no arrays, or needs more than reading.
    """
    if path.suffix in checkpoint.SAFETENSORS:
        return {"": checkpoint.read_safetensors(path)}
    found, kind = _unpickled(path)
    try:
        states = dict(_states(found, kind)) if isinstance(found, dict) else {}
    except RecursionError:
        raise InputError(f"{path} holds dicts without an end; save the state_dict()") from None
    if not states:
        name = "dict" if isinstance(found, dict) else type(found).__name__
        what = f"{name} of {list(found)[:5]}" if isinstance(found, dict) else name
        raise InputError(
            f"{path} holds a {what}, not a state dict; save the network's state_dict()"
        )
    return states


def _unpickled(path: Path) -> tuple[Any, type]:
    """The content of a PyTorch file, and the type of its tensors."""
    try:
        import torch
    except ImportError:
        reader = torch_zip if torch_zip.begins(path) else torch_legacy
        return reader.read(path), np.ndarray
    import argparse
    import collections
    import pathlib

    # training scripts store plain values beside the weights: command lines, metrics, paths
    plain = [argparse.Namespace, collections.defaultdict, dict, pathlib.PosixPath, *_numbers()]
    try:
        with torch.serialization.safe_globals(plain):
            return torch.load(path, map_location="cpu", weights_only=True), torch.Tensor
    except pickle.UnpicklingError as error:
        other = re.search(r"GLOBAL (\S+)", str(error))
        reason = f"it holds a {other[1]}" if other else str(error).splitlines()[0]
        raise InputError(
            f"{path} is not a PyTorch file of weights only ({reason}); save the network's "
            "state_dict()"
        ) from None
    except Exception as error:  # truncated and foreign files fail in many ways
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"{path} is not a complete PyTorch file ({reason})") from None


def _numbers() -> list[Any]:
    """What NumPy's scalars and small arrays are pickled with."""
    scalar = np.float64(0).__reduce__()[0]
    kinds = (np.float64, np.float32, np.int64, np.int32, np.bool_)
    # the second name is that of NumPy 1
    names = [scalar, (scalar, "numpy.core.multiarray.scalar"), np.dtype]
    return [*names, *{type(np.dtype(kind)) for kind in kinds}]


def _states(found: Mapping[Any, Any], tensor: type, place: str = "") -> Iterator[tuple[str, State]]:
    state = {key: leaf for key, leaf in found.items() if isinstance(leaf, tensor)}
    if state and all(isinstance(key, str) for key in state):
        yield place, state
    for key, leaf in found.items():
        if isinstance(leaf, dict):
            yield from _states(leaf, tensor, f"{place}.{key}" if place else str(key))


def array(leaf: Any, what: str) -> np.ndarray:
    """A tensor or an array as an array; half precision of PyTorch as float32.

    Raises:
        InputError: it is sparse or quantized.
    """
    if isinstance(leaf, np.ndarray):
        return leaf
    try:
        return (leaf.float() if leaf.is_floating_point() else leaf).detach().numpy()
    except (RuntimeError, TypeError, NotImplementedError) as error:
        raise InputError(f"cannot read the tensor {what} ({str(error).splitlines()[0]})") from None


def check_real(state: Mapping[str, np.ndarray], source: str) -> None:
    """Raises InputError for an array that is not of real numbers, or a negative variance."""
    for name, leaf in state.items():
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            raise InputError(
                f"{name} in {source} is of {leaf.dtype}, not of real floating-point numbers; "
                "convert it first"
            )
        if name.split(".")[-1] == "running_var" and (leaf < 0).any():
            raise InputError(f"the variance {name} in {source} is negative; give other weights")


def save(
    path: str | Path, state: Mapping[str, np.ndarray], about: Mapping[str, str] | None = None
) -> None:
    """Writes a state dict whole: .safetensors, or .pth and .pt if PyTorch is installed.

    Args:
        path: the file.
        state: arrays by name.
        about: texts for the header of a safetensors file; a PyTorch file has the arrays alone.

    Raises:
        InputError: the name has another suffix, or PyTorch is missing.
        OSError: the file cannot be written.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise InputError(f"there is no folder {path.parent} to write {path.name} to; make it")
    arrays = {name: np.asarray(leaf, order="C") for name, leaf in state.items()}
    # in memory first: where the disk is full, the libraries raise errors of their own
    if path.suffix in checkpoint.SAFETENSORS:
        from safetensors.numpy import save as to_bytes

        files.replace(path, to_bytes(arrays, {"format": "pt", **(about or {})}))
    elif path.suffix in (".pth", ".pt"):
        torch, content = _torch(path), io.BytesIO()
        torch.save(
            {name: torch.from_numpy(np.array(leaf)) for name, leaf in arrays.items()}, content
        )
        files.replace(path, content.getbuffer())
    else:
        raise InputError(f"{path} ends in neither .safetensors nor .pth; use one of them")


def _torch(path: Path) -> Any:
    try:
        import torch
    except ImportError:
        raise InputError(
            f"to write {path} needs PyTorch; install it, or write .safetensors"
        ) from None
    return torch
