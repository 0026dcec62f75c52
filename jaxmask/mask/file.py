"""Mask files (`.mask`): one bit per weight, checked on the way in, whole or not there at all.

Version 1, all integers little-endian:

| bytes | what |
|---|---|
| 8 | `89 4A 4D 41 53 4B 0D 0A` (`\\x89JMASK\\r\\n`: a transfer as text breaks it visibly) |
| 4 | format version |
| 4 | length of the header |
| | header: canonical JSON (sorted keys, no spaces, ASCII) |
| | the bits of all leaves in the order of the header, most significant first, padded with 0 |
| 32 | SHA-256 of all before it |

The header is `{"kind": "binary" or "sign", "leaves": [[path, shape], ...], "metadata": {...}}`,
leaves sorted by path, metadata from str to str. A file holds no times: the same masks and metadata
give the same bytes.
"""

import hashlib
import json
import math
import os
import secrets
import struct
from typing import Any

import jax
import numpy as np

from jaxmask.errors import InputError
from jaxmask.tree import PyTree, align, named_leaves

MAGIC = b"\x89JMASK\r\n"
VERSION = 1

_PREFIX = struct.Struct("<8sII")
_DIGEST = hashlib.sha256().digest_size
_KINDS = ("binary", "sign")
_MAX_AXES = 32
_MAX_SIZE = 2**48


def save(path: str | os.PathLike, masks: PyTree, *, metadata: dict[str, str] | None = None) -> None:
    """Writes masks to a file, one bit per weight (8 weights a byte, and a header).

    The file appears whole or not at all: it is written beside its place, flushed to the disk and
    renamed. The same masks and metadata give the same bytes.

    Args:
      path: of the file; its folder must exist. A file that is there is replaced.
      masks: a tree of bool, {0, 1} or {-1, 1}, of any dtype. If any mask holds -1, none may hold
        0: the file's kind is then `"sign"`, else `"binary"`.
      metadata: str to str, kept in the header.

    Raises:
      InputError: for a leaf that is no mask, a path that is empty or could not be a nested dict's
        (`a//b`, `..`, a leaf `a` beside `a/b`), metadata that is not str, or a missing folder.

    Example:
      >>> save("/tmp/example.mask", {"w": jnp.array([True, False])}, metadata={"task": "digits"})
      >>> load("/tmp/example.mask")["w"]
      array([ True, False])
    """
    path = os.fspath(path)
    leaves = {name: np.asarray(leaf) for name, leaf in sorted(named_leaves(masks).items())}
    metadata = {} if metadata is None else dict(metadata)
    header = {
        "kind": _kind(leaves),
        "leaves": [[name, list(leaf.shape)] for name, leaf in leaves.items()],
        "metadata": metadata,
    }
    if fault := _fault(header):
        raise InputError(f"mask file {path}: cannot save: {fault}")
    folder = os.path.dirname(path) or "."
    if not os.path.isdir(folder) or os.path.isdir(path):
        raise InputError(f"mask file {path}: not a file in an existing folder; make the folder")
    text = _canonical(header)
    bits = [(leaf > 0).reshape(-1) for leaf in leaves.values()]
    body = _PREFIX.pack(MAGIC, VERSION, len(text)) + text
    body += np.packbits(np.concatenate([np.zeros(0, bool), *bits])).tobytes()
    _write(path, body + hashlib.sha256(body).digest())


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
      >>> save("/tmp/example.mask", {"w": jnp.array([True, False]), "bias": None})
      >>> load("/tmp/example.mask", like=weights)
      {'bias': None, 'w': array([ True, False])}
    """
    path = os.fspath(path)
    header, payload = _read(path)
    shapes = dict(header["leaves"])
    bits = np.unpackbits(np.frombuffer(payload, np.uint8), count=_bits(header)).astype(bool)
    masks, start = {}, 0
    for name, shape in shapes.items():
        size = math.prod(shape)
        leaf = bits[start : start + size].reshape(shape)
        masks[name] = np.where(leaf, 1, -1).astype(np.int8) if header["kind"] == "sign" else leaf
        start += size
    nested = _nest(masks)
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
      >>> save("/tmp/example.mask", {"w": jnp.array([[True, False]])})
      >>> read_header("/tmp/example.mask")["leaves"]
      {'w': (1, 2)}
    """
    header, _ = _read(os.fspath(path))
    leaves = {name: tuple(shape) for name, shape in header["leaves"]}
    return {"version": VERSION, **header, "leaves": leaves}


def _kind(leaves: dict[str, np.ndarray]) -> str:
    """`"sign"` if any mask holds -1; InputError naming a leaf that is no mask of that kind."""
    kind = "binary"
    for leaf in leaves.values():
        if leaf.dtype.kind not in "bu" and leaf.dtype != object and np.any(leaf == -1):
            kind = "sign"
    off = -1 if kind == "sign" else 0
    for name, leaf in leaves.items():
        numbers = leaf.dtype == bool or jax.numpy.issubdtype(leaf.dtype, np.number)
        if not numbers or not np.all((leaf == 1) | (leaf == off)):
            raise InputError(
                f"mask {name!r} holds other values than {off} and 1; save what a transform's "
                "mask or keep_top gives, of one kind"
            )
    return kind


def _canonical(header: dict[str, Any]) -> bytes:
    return json.dumps(header, sort_keys=True, separators=(",", ":")).encode("ascii")


def _bits(header: dict[str, Any]) -> int:
    return sum(math.prod(shape) for _, shape in header["leaves"])


def _fault(header: Any) -> str:
    """What is wrong with a header, '' if nothing is. Looks at types before it looks at values."""
    if not isinstance(header, dict) or set(header) != {"kind", "leaves", "metadata"}:
        return "the header's fields are not kind, leaves and metadata"
    if header["kind"] not in _KINDS:
        return f"the kind is not one of {', '.join(_KINDS)}"
    metadata, leaves = header["metadata"], header["leaves"]
    if not isinstance(metadata, dict) or not all(
        isinstance(text, str) for pair in metadata.items() for text in pair
    ):
        return "metadata is not a dict from str to str"
    if not isinstance(leaves, list):
        return "leaves is not a list"
    for leaf in leaves:
        if not isinstance(leaf, list) or len(leaf) != 2 or not isinstance(leaf[0], str):
            return "a leaf is not a path and a shape"
        name, shape = leaf
        steps = name.split("/")
        if any(step in ("", ".", "..") or not step.isprintable() for step in steps):
            return f"the path {name!r} is empty or unsafe; give every leaf a plain name"
        if not isinstance(shape, list) or not all(type(axis) is int for axis in shape):
            return f"the shape of {name!r} is not a list of integers"
        if len(shape) > _MAX_AXES or any(axis < 0 for axis in shape):
            return f"the shape of {name!r} has a negative axis or more than {_MAX_AXES}"
        if math.prod(max(axis, 1) for axis in shape) > _MAX_SIZE:
            return f"the shape of {name!r} is absurdly large"
    names = [name for name, _ in leaves]
    if any(a >= b for a, b in zip(names, names[1:])):
        return "a path is there twice, or the paths are not sorted"
    known = set(names)
    for name in names:
        steps = name.split("/")
        for depth in range(1, len(steps)):
            if (folder := "/".join(steps[:depth])) in known:
                return f"{folder!r} is a leaf, and yet {name!r} lies beneath it"
    return ""


def _read(path: str) -> tuple[dict[str, Any], bytes]:
    """The checked header and the bytes of the bits."""

    def refuse(why: str) -> InputError:
        return InputError(f"mask file {path}: {why}")

    try:
        with open(path, "rb") as file:
            content = file.read()
    except FileNotFoundError:
        raise refuse("does not exist; check the path") from None
    except (OSError, ValueError) as error:
        raise refuse(f"cannot be read ({error}); give a readable file") from None
    again = "; copy it again"
    if not content.startswith(MAGIC):
        truncated = content and MAGIC.startswith(content)
        raise refuse("truncated" + again if truncated else "not a mask file; give one from save")
    if len(content) < _PREFIX.size + _DIGEST:
        raise refuse(f"truncated at {len(content)} bytes" + again)
    _, version, length = _PREFIX.unpack_from(content)
    if version > VERSION:
        raise refuse(f"format version {version}, this jaxmask reads {VERSION}; upgrade jaxmask")
    if version < 1:
        raise refuse(f"format version {version} does not exist" + again)
    if length > len(content) - _PREFIX.size - _DIGEST:
        raise refuse(f"truncated: a header of {length} bytes in a file of {len(content)}" + again)
    start = _PREFIX.size + length
    try:
        header = json.loads(content[_PREFIX.size : start].decode("ascii"))
        canonical = _canonical(header) == content[_PREFIX.size : start]
    except (ValueError, RecursionError):
        raise refuse("damaged: the header is not JSON" + again) from None
    if fault := _fault(header) or ("" if canonical else "the header is not canonical JSON"):
        raise refuse(f"damaged: {fault}" + again)
    # The claimed size against the real one, before anything of the claimed size is made.
    surplus = len(content) - start - _DIGEST - (_bits(header) + 7) // 8
    if surplus:
        what = (
            f"truncated, {-surplus} bytes missing" if surplus < 0 else f"{surplus} bytes too long"
        )
        raise refuse(what + again)
    if hashlib.sha256(content[:-_DIGEST]).digest() != content[-_DIGEST:]:
        raise refuse("damaged: the checksum does not match" + again)
    payload = content[start:-_DIGEST]
    if padding := -_bits(header) % 8:
        if payload[-1] & ((1 << padding) - 1):
            raise refuse("damaged: bits are set beyond the last weight" + again)
    return header, payload


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
