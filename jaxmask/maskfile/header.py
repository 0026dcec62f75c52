"""The header of a mask file: canonical JSON, every field checked before use.

| field | what |
|---|---|
| `arrays` | `[[path, dtype, shape], ...]`, stored besides the masks, sorted by path |
| `base` | `[name, fingerprint]` of the network that the masks are for, or null |
| `codec` | of the masks; the arrays use the same, zstd for both kinds of `entropy` |
| `kind` | `"binary"` ({0, 1}) or `"sign"` ({-1, 1}) |
| `leaves` | `[[path, shape], ...]` of the masks, sorted by path |
| `metadata` | from str to str: the method's settings, metrics, whatever the writer adds |
| `sizes` | the bytes of the two parts as stored: masks, arrays |

Version 1 has only `kind`, `leaves` and `metadata`.
"""

import itertools
import json
import math
import zlib
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxmask.maskfile.codec import CODECS, GIVEN_WEIGHTS

FIELDS = {
    1: {"kind", "leaves", "metadata"},
    2: {"arrays", "base", "codec", "kind", "leaves", "metadata", "sizes"},
}
KINDS = ("binary", "sign")
DTYPES = {
    np.dtype(kind).name: np.dtype(kind)
    for kind in (
        *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)),
        *("bool", "float16", "float32", "float64", jnp.bfloat16),
    )
}
MAX_BITS = 2**33
_MAX_AXES = 32
_MAX_SIZE = 2**48
_MAX_TEXT = 2**26  # bytes


def packed(header: dict[str, Any]) -> bytes:
    """The header as version 2 stores it: its canonical text under zlib."""
    return zlib.compress(canonical(header), 9)


def unpacked(stored: bytes) -> bytes:
    """The text of a stored header of version 2.

    Raises:
      ValueError: it is not a zlib stream, has bytes after its end, or is absurdly long.
    """
    stream = zlib.decompressobj()
    try:
        text = stream.decompress(stored, _MAX_TEXT)
    except zlib.error as error:
        raise ValueError(error) from None
    if not stream.eof or stream.unused_data:
        raise ValueError("the stream does not end with the header")
    return text


def canonical(header: dict[str, Any]) -> bytes:
    """The only text that a header may have."""
    return json.dumps(header, sort_keys=True, separators=(",", ":")).encode("ascii")


def bits(header: dict[str, Any]) -> int:
    """The number of bits of all masks."""
    return sum(math.prod(shape) for _, shape in header["leaves"])


def array_bytes(header: dict[str, Any]) -> int:
    """The number of bytes of all arrays, before compression."""
    return sum(
        math.prod(shape) * DTYPES[dtype].itemsize for _, dtype, shape in header.get("arrays", ())
    )


def fault(header: Any, version: int) -> str:
    """What is wrong with a header, '' if nothing. Checks types before values."""
    if not isinstance(header, dict) or set(header) != FIELDS[version]:
        return f"the header's fields are not {', '.join(sorted(FIELDS[version]))}"
    if header["kind"] not in KINDS:
        return f"the kind is not one of {', '.join(KINDS)}"
    metadata = header["metadata"]
    if not isinstance(metadata, dict) or not all(
        isinstance(text, str) for pair in metadata.items() for text in pair
    ):
        return "metadata is not a dict from str to str"
    if found := _fault_of_shapes(header["leaves"], "leaves", "leaf", 2):
        return found
    if version == 1:
        return ""
    if header["codec"] not in (*CODECS, GIVEN_WEIGHTS):
        return f"the codec is not one of {', '.join((*CODECS, GIVEN_WEIGHTS))}"
    base = header["base"]
    if base is not None and not _is_list(base, str, 2):
        return "the base is not a name and a fingerprint"
    if not _is_list(header["sizes"], int, 2) or min(header["sizes"]) < 0:
        return "the sizes are not two numbers of bytes"
    if found := _fault_of_shapes(header["arrays"], "arrays", "array", 3):
        return found
    for name, dtype, _ in header["arrays"]:
        if not isinstance(dtype, str) or dtype not in DTYPES:
            return f"the dtype of {name!r} is not one of {', '.join(DTYPES)}"
    if bits(header) > MAX_BITS or array_bytes(header) > MAX_BITS:
        return f"the sizes are absurd: more than {MAX_BITS} bits, or bytes of arrays"
    return ""


def _is_list(value: Any, kind: type, length: int) -> bool:
    return (
        isinstance(value, list)
        and len(value) == length
        and all(type(entry) is kind for entry in value)
    )


def _fault_of_shapes(leaves: Any, plural: str, singular: str, length: int) -> str:
    """What is wrong with a list of entries that start with a path and end with a shape."""
    if not isinstance(leaves, list):
        return f"{plural} is not a list"
    for leaf in leaves:
        if not isinstance(leaf, list) or len(leaf) != length or not isinstance(leaf[0], str):
            return f"not every {singular} is a path{', a dtype' * (length == 3)} and a shape"
        name, shape = leaf[0], leaf[-1]
        steps = name.split("/")
        if any(step in ("", ".", "..") or not step.isprintable() for step in steps):
            return f"the path {name!r} is empty or unsafe; give every leaf a plain name"
        if not isinstance(shape, list) or not all(type(axis) is int for axis in shape):
            return f"the shape of {name!r} is not a list of integers"
        if len(shape) > _MAX_AXES or any(axis < 0 for axis in shape):
            return f"the shape of {name!r} has a negative axis or more than {_MAX_AXES}"
        if math.prod(max(axis, 1) for axis in shape) > _MAX_SIZE:
            return f"the shape of {name!r} is absurdly large"
    names = [leaf[0] for leaf in leaves]
    if any(a >= b for a, b in itertools.pairwise(names)):
        return "a path occurs twice, or the paths are not sorted"
    known = set(names)
    for name in names:
        steps = name.split("/")
        for depth in range(1, len(steps)):
            if (folder := "/".join(steps[:depth])) in known:
                return f"{folder!r} is a leaf, but {name!r} is below it"
    return ""
