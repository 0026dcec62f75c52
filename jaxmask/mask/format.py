"""The bytes of a mask file: one bit per weight and a header, checked before they are believed.

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
import itertools
import json
import math
import struct
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxmask.errors import InputError

MAGIC = b"\x89JMASK\r\n"
VERSION = 1

_PREFIX = struct.Struct("<8sII")
_DIGEST = hashlib.sha256().digest_size
_KINDS = ("binary", "sign")
_MAX_AXES = 32
_MAX_SIZE = 2**48
_AGAIN = "; copy it again"


def encode(leaves: dict[str, Any], metadata: dict[str, str] | None = None) -> bytes:
    """The bytes of masks by path; the same masks and metadata give the same bytes.

    Raises:
      InputError: for a leaf that is no mask, an unsafe path, metadata that is not str to str.
    """
    arrays = {path: _array(path, leaf) for path, leaf in sorted(leaves.items())}
    header = {
        "kind": _kind(arrays),
        "leaves": [[path, list(leaf.shape)] for path, leaf in arrays.items()],
        "metadata": {} if metadata is None else metadata,
    }
    if fault := _fault(header):
        raise InputError(fault)
    text = _canonical(header)
    bits = [(leaf > 0).reshape(-1) for leaf in arrays.values()]
    packed = np.packbits(np.concatenate([np.zeros(0, bool), *bits]))
    body = _PREFIX.pack(MAGIC, VERSION, len(text)) + text + packed.tobytes()
    return body + hashlib.sha256(body).digest()


def decode(content: bytes) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The header and the masks by path: bool, or int8 of {-1, 1} for the kind `"sign"`.

    Raises:
      InputError: for bytes that `encode` did not make, or a newer version did.
    """
    header, payload = _checked(content)
    bits = np.unpackbits(np.frombuffer(payload, np.uint8), count=_bits(header)).view(bool)
    masks, start = {}, 0
    for path, shape in header["leaves"]:
        leaf = bits[start : start + math.prod(shape)].reshape(shape)
        masks[path] = np.where(leaf, 1, -1).astype(np.int8) if header["kind"] == "sign" else leaf
        start += math.prod(shape)
    return header, masks


def _array(path: str, leaf: Any) -> np.ndarray:
    dtype = getattr(leaf, "dtype", np.dtype(object))
    if not any(jnp.issubdtype(dtype, kind) for kind in (jnp.bool_, jnp.integer, jnp.floating)):
        raise InputError(f"mask {path!r} is {type(leaf).__name__} ({dtype}), not an array of bits")
    return np.asarray(leaf)


def _kind(leaves: dict[str, np.ndarray]) -> str:
    """`"sign"` if any mask holds -1; InputError naming a leaf that is no mask of that kind."""
    kind = "sign" if any(np.any(leaf < 0) for leaf in leaves.values()) else "binary"
    off = -1 if kind == "sign" else 0
    for path, leaf in leaves.items():
        if not np.all((leaf == 1) | (leaf == off)):
            raise InputError(
                f"mask {path!r} holds other values than {off} and 1; save what a transform's "
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
    if any(a >= b for a, b in itertools.pairwise(names)):
        return "a path is there twice, or the paths are not sorted"
    known = set(names)
    for name in names:
        steps = name.split("/")
        for depth in range(1, len(steps)):
            if (folder := "/".join(steps[:depth])) in known:
                return f"{folder!r} is a leaf, and yet {name!r} lies beneath it"
    return ""


def _checked(content: bytes) -> tuple[dict[str, Any], bytes]:
    """The header and the bytes of the bits."""
    if not content.startswith(MAGIC):
        if content and MAGIC.startswith(content):
            raise InputError(f"truncated at {len(content)} bytes{_AGAIN}")
        raise InputError("not a mask file; give one that mask.file.save wrote")
    if len(content) < _PREFIX.size + _DIGEST:
        raise InputError(f"truncated at {len(content)} bytes{_AGAIN}")
    _, version, length = _PREFIX.unpack_from(content)
    if version > VERSION:
        raise InputError(f"format version {version}, newer than {VERSION}; upgrade jaxmask")
    if version < 1:
        raise InputError(f"damaged: there is no format version {version}{_AGAIN}")
    start = _PREFIX.size + length
    if start > len(content) - _DIGEST:
        raise InputError(
            f"truncated: a header of {length} bytes in a file of {len(content)}{_AGAIN}"
        )
    header = _parsed(content[_PREFIX.size : start])
    # The claimed size against the real one, before anything of the claimed size is made.
    surplus = len(content) - start - _DIGEST - (_bits(header) + 7) // 8
    if surplus < 0:
        raise InputError(f"truncated: {-surplus} bytes are missing{_AGAIN}")
    if surplus > 0:
        raise InputError(f"damaged: {surplus} bytes too long{_AGAIN}")
    if hashlib.sha256(content[:-_DIGEST]).digest() != content[-_DIGEST:]:
        raise InputError(f"damaged: the checksum does not match{_AGAIN}")
    payload = content[start:-_DIGEST]
    padding = -_bits(header) % 8
    if padding and payload[-1] % (1 << padding):
        raise InputError(f"damaged: bits are set beyond the last weight{_AGAIN}")
    return header, payload


def _parsed(text: bytes) -> dict[str, Any]:
    try:
        header = json.loads(text.decode("ascii"))
        canonical = _canonical(header) == text
    except (ValueError, RecursionError):
        raise InputError(f"damaged: the header is not JSON{_AGAIN}") from None
    fault = _fault(header)
    # Not canonical: keys there twice, or bytes that the same masks would not give.
    if fault or not canonical:
        raise InputError(f"damaged: {fault or 'the header is not canonical JSON'}{_AGAIN}")
    return header
