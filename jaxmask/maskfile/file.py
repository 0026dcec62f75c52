"""Reading and writing mask files."""

import hashlib
import json
import os
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from jaxmask import files
from jaxmask.errors import InputError
from jaxmask.maskfile.codec import GIVEN_WEIGHTS
from jaxmask.maskfile.format import decode, encode, parts
from jaxmask.tree import PyTree, aligned, named_leaves, nested


class Base(NamedTuple):
    """The network that masks are for: its name, and `fingerprint` of its frozen weights.

    Example:
      >>> maskfile.Base("resnet20", maskfile.fingerprint({"w": jnp.ones(2)})).name
      'resnet20'
    """

    name: str
    fingerprint: str


class MaskFile(NamedTuple):
    """Everything in a mask file; masks and arrays are nested dicts of NumPy arrays.

    Example:
      >>> maskfile.save("/tmp/example.mask", {"w": jnp.array([True, False])})
      >>> maskfile.read("/tmp/example.mask").kind
      'binary'
    """

    masks: dict[str, Any]
    arrays: dict[str, Any]
    base: Base | None
    metadata: dict[str, str]
    kind: str
    codec: str
    version: int


def fingerprint(weights: PyTree) -> str:
    """SHA-256, in hexadecimal, of all leaves: paths (sorted), dtypes, shapes and values.

    Two trees have the same fingerprint if, and only if, their leaves have the same paths, dtypes,
    shapes and bytes; holes (`None`) and the kinds of the containers do not count.

    Args:
      weights: any tree of arrays.

    Raises:
      InputError: for a leaf that is not an array of numbers, or two leaves with one path.

    Example:
      >>> maskfile.fingerprint({"w": jnp.ones(2), "bias": None})[:16]
      'ed9a7412526393e7'
    """
    digest = hashlib.sha256()
    for path, leaf in sorted(named_leaves(weights).items()):
        array = np.asarray(leaf)
        if array.dtype.hasobject:
            raise InputError(f"fingerprint: {path!r} is {type(leaf).__name__}, not an array")
        digest.update(json.dumps([path, array.dtype.name, array.shape]).encode() + b"\n")
        digest.update(array.astype(array.dtype.newbyteorder("<")).tobytes())
    return digest.hexdigest()


def save(
    path: str | os.PathLike[str],
    masks: PyTree,
    *,
    metadata: dict[str, str] | None = None,
    arrays: PyTree = None,
    base: Base | None = None,
    codec: str = "entropy",
    weights: PyTree = None,
) -> None:
    """Writes masks, and what else a task needs, to a file.

    The file appears whole or not at all: it is written to a temporary file beside it, flushed
    to disk and renamed. The same content gives the same bytes: there are no timestamps in it.

    Args:
      path: of the file; its folder must exist. An existing file is replaced.
      masks: a tree of bool, {0, 1} or {-1, 1}, of any dtype. If any mask holds -1, none may hold
        0: the file's kind is then `"sign"`, else `"binary"`. The tree may be empty.
      metadata: str to str, kept in the header.
      arrays: a tree of what else the task needs (batch statistics, a head): bool, integers and
        floating point.
      base: the network that the masks are for; its fingerprint lets readers refuse others.
      codec: one of `"entropy"` (the smallest for masks), `"raw"` (8 weights per byte), `"gzip"`,
        `"bz2"`, `"lzma"`, `"zstd"`, `"lz4"`, `"snappy"`. The arrays use the same codec, or zstd
        for `"entropy"`.
      weights: the frozen weights that the masks apply to (a tree with at least the masks' paths).
        They save `"entropy"` about a fifth of the bytes; the file can then be read only with
        them, by `load(..., weights=)`.

    Raises:
      InputError: for a leaf that is not a mask, a path that is empty or impossible in a nested dict
        (`a//b`, `..`, a leaf `a` beside `a/b`), metadata that is not str, an array that is not
        one, an unknown codec, or a missing folder.

    Example:
      >>> keep = {"w": jnp.array([True, False])}
      >>> maskfile.save("/tmp/example.mask", keep, metadata={"task": "digits"})
      >>> maskfile.load("/tmp/example.mask")["w"]
      array([ True, False])
    """
    path = os.fspath(path)
    if os.path.isdir(path) or not os.path.isdir(os.path.dirname(path) or "."):
        raise InputError(f"mask file {path}: not a file in an existing folder; make the folder")
    try:
        content = encode(
            named_leaves(masks), metadata, named_leaves(arrays), base, codec, _named(weights)
        )
    except InputError as error:
        raise InputError(f"mask file {path}: cannot save: {error}") from None
    files.replace(path, content)


def load(
    path: str | os.PathLike[str],
    like: PyTree | None = None,
    *,
    fingerprint: str | None = None,
    weights: PyTree = None,
) -> PyTree:
    """Reads the masks of a file that `save` wrote.

    Args:
      path: of the file.
      like: a tree (with holes: of weights, scores or masks) whose structure the result gets, and
        whose paths and shapes must be the file's. None: the result is a nested dict, by path.
      fingerprint: of the network that the masks are applied to, as in `read`.
      weights: as in `read`.

    Returns:
      NumPy arrays: bool, or int8 of {-1, 1} for a file of the kind `"sign"`.

    Raises:
      InputError: if the file is missing, is not a mask file, is of a newer version, is damaged in
        any way, or is for another network; or if its paths or shapes are not those of `like` (the
        first are named).

    Example:
      >>> weights = {"w": jnp.ones(2), "bias": None}
      >>> maskfile.save("/tmp/example.mask", {"w": jnp.array([True, False]), "bias": None})
      >>> maskfile.load("/tmp/example.mask", like=weights)
      {'bias': None, 'w': array([ True, False])}
    """
    nested = read(path, fingerprint=fingerprint, weights=weights).masks
    if like is None:
        return nested
    return aligned(like, nested, f"mask file {os.fspath(path)}")


def read(
    path: str | os.PathLike[str], *, fingerprint: str | None = None, weights: PyTree = None
) -> MaskFile:
    """Everything in a file that `save` wrote.

    Args:
      path: of the file.
      fingerprint: `fingerprint` of the network that the masks are applied to; a file made for
        another, or that does not say for which, is refused. None: not checked.
      weights: the frozen weights, for a file that was saved given them; others ignore them.

    Raises:
      InputError: as `load`.

    Example:
      >>> keep, more = {"w": jnp.array([True, False])}, {"head": {"bias": jnp.zeros(2)}}
      >>> maskfile.save("/tmp/example.mask", keep, arrays=more)
      >>> maskfile.read("/tmp/example.mask").arrays
      {'head': {'bias': array([0., 0.], dtype=float32)}}
    """
    path = os.fspath(path)
    content = _refused_by_name(path, decode, _content(path), _named(weights))
    stored = content.header["base"]
    base = None if stored is None else Base(*stored)
    if fingerprint is not None:
        _check_base(path, base, fingerprint)
    return MaskFile(
        nested(content.masks),
        nested(content.arrays),
        base,
        content.header["metadata"],
        content.header["kind"],
        content.header["codec"],
        content.version,
    )


def read_header(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The header of a mask file, after the same checks as `load`.

    Masks that are coded given the frozen weights are not decoded.

    Returns:
      `{"version": int, "kind": str, "leaves": {path: shape}, "metadata": {str: str},
      "base": Base or None, "codec": str, "arrays": {path: (shape, dtype)},
      "bytes": {"masks": int, "arrays": int, "file": int}}`, the bytes as stored.

    Raises:
      InputError: as `load`.

    Example:
      >>> maskfile.save("/tmp/example.mask", {"w": jnp.array([[True, False]])})
      >>> maskfile.read_header("/tmp/example.mask")["leaves"]
      {'w': (1, 2)}
    """
    path = os.fspath(path)
    content = _content(path)
    version, header, _, _ = _refused_by_name(path, parts, content)
    if header["codec"] != GIVEN_WEIGHTS:
        _refused_by_name(path, decode, content)
    masks, arrays = header["sizes"]
    return {
        "version": version,
        "kind": header["kind"],
        "leaves": {name: tuple(shape) for name, shape in header["leaves"]},
        "metadata": header["metadata"],
        "base": None if header["base"] is None else Base(*header["base"]),
        "codec": header["codec"],
        "arrays": {name: (tuple(shape), dtype) for name, dtype, shape in header["arrays"]},
        "bytes": {"masks": masks, "arrays": arrays, "file": len(content)},
    }


def _check_base(path: str, base: Base | None, wanted: str) -> None:
    if base is None:
        raise InputError(
            f"mask file {path}: does not say for which network it is; "
            "if you know that it is for this one, give no fingerprint"
        )
    if base.fingerprint != wanted:
        raise InputError(
            f"mask file {path}: made for another network than this one ({base.name!r} with the "
            f"fingerprint {base.fingerprint[:12]!r}, not {wanted[:12]!r}); give that network's "
            "weights"
        )


def _content(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        raise InputError(f"mask file {path}: does not exist; check the path") from None
    except (OSError, ValueError) as error:
        raise InputError(f"mask file {path}: cannot be read ({error}); check the path") from None


def _refused_by_name(path: str, function: Callable[..., Any], *arguments: Any) -> Any:
    """What the function returns; its InputErrors then name the file."""
    try:
        return function(*arguments)
    except InputError as error:
        raise InputError(f"mask file {path}: {error}") from None


def _named(weights: PyTree) -> dict[str, Any] | None:
    return None if weights is None else named_leaves(weights)
