"""Mask files (`.mask`): one bit per weight, whole or not there at all; `format` has the bytes."""

import os
import secrets
from typing import Any

import jax
import numpy as np

from jaxmask.errors import InputError
from jaxmask.mask.format import VERSION, decode, encode
from jaxmask.tree import PyTree, align, named_leaves


def save(path: str | os.PathLike, masks: PyTree, *, metadata: dict[str, str] | None = None) -> None:
    """Writes masks to a file, one bit per weight (8 weights a byte, and a header).

    The file appears whole or not at all: it is written beside its place, flushed to the disk and
    renamed. The same masks and metadata give the same bytes: no times are in it.

    Args:
      path: of the file; its folder must exist. A file that is there is replaced.
      masks: a tree of bool, {0, 1} or {-1, 1}, of any dtype. If any mask holds -1, none may hold
        0: the file's kind is then `"sign"`, else `"binary"`.
      metadata: str to str, kept in the header.

    Raises:
      InputError: for a leaf that is no mask, a path that is empty or could not be a nested dict's
        (`a//b`, `..`, a leaf `a` beside `a/b`), metadata that is not str, or a missing folder.

    Example:
      >>> keep = {"w": jnp.array([True, False])}
      >>> mask.file.save("/tmp/example.mask", keep, metadata={"task": "digits"})
      >>> mask.file.load("/tmp/example.mask")["w"]
      array([ True, False])
    """
    path = os.fspath(path)
    if os.path.isdir(path) or not os.path.isdir(os.path.dirname(path) or "."):
        raise InputError(f"mask file {path}: not a file in an existing folder; make the folder")
    try:
        content = encode(named_leaves(masks), metadata)
    except InputError as error:
        raise InputError(f"mask file {path}: cannot save: {error}") from None
    _write(path, content)


def load(path: str | os.PathLike, like: PyTree | None = None) -> PyTree:
    """Reads masks from a file that `save` wrote.

    Args:
      path: of the file.
      like: a tree (with holes: of weights, scores or masks) whose structure the result gets, and
        whose paths and shapes must be the file's. None: the result is a nested dict, by path.

    Returns:
      NumPy arrays: bool, or int8 of {-1, 1} for a file of the kind `"sign"`.

    Raises:
      InputError: if the file is missing, is no mask file, is of a newer version, or is damaged in
        any way, or if its paths or shapes are not those of `like`; the first are named.

    Example:
      >>> weights = {"w": jnp.ones(2), "bias": None}
      >>> mask.file.save("/tmp/example.mask", {"w": jnp.array([True, False]), "bias": None})
      >>> mask.file.load("/tmp/example.mask", like=weights)
      {'bias': None, 'w': array([ True, False])}
    """
    path = os.fspath(path)
    nested = _nest(_read(path)[1])
    if like is None:
        return nested
    leaves = align(like, nested, f"mask file {path}")
    return jax.tree.unflatten(jax.tree.structure(like), leaves)


def read_header(path: str | os.PathLike) -> dict[str, Any]:
    """What a mask file says of itself, after the same checks as `load`.

    Returns:
      `{"version": int, "kind": str, "leaves": {path: shape}, "metadata": {str: str}}`.

    Raises:
      InputError: as `load`.

    Example:
      >>> mask.file.save("/tmp/example.mask", {"w": jnp.array([[True, False]])})
      >>> mask.file.read_header("/tmp/example.mask")["leaves"]
      {'w': (1, 2)}
    """
    header, _ = _read(os.fspath(path))
    leaves = {name: tuple(shape) for name, shape in header["leaves"]}
    return {"version": VERSION, **header, "leaves": leaves}


def _read(path: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    try:
        with open(path, "rb") as file:
            content = file.read()
    except FileNotFoundError:
        raise InputError(f"mask file {path}: does not exist; check the path") from None
    except (OSError, ValueError) as error:
        raise InputError(f"mask file {path}: cannot be read ({error}); check the path") from None
    try:
        return decode(content)
    except InputError as error:
        raise InputError(f"mask file {path}: {error}") from None


def _nest(leaves: dict[str, np.ndarray]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for name, leaf in leaves.items():
        *folders, last = name.split("/")
        place = nested
        for folder in folders:
            place = place.setdefault(folder, {})
        place[last] = leaf
    return nested


def _write(path: str, content: bytes) -> None:
    """Writes the file whole or not at all."""
    folder, name = os.path.split(path)
    # In the same folder, for only within one file system is a rename atomic.
    beside = os.path.join(folder, f".{name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    try:
        with open(beside, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except BaseException:
        if os.path.exists(beside):
            os.unlink(beside)
        raise
    # The rename itself is on the disk once the folder is; not every system can flush one.
    try:
        handle = os.open(folder or ".", os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    except OSError:
        pass
    finally:
        os.close(handle)
