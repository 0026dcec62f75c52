"""The bytes of a mask file: a header, the bits, arrays; checked before use.

Version 2, all integers little-endian:

| bytes | what |
|---|---|
| 8 | `89 4A 4D 41 53 4B 0D 0A` (`\\x89JMASK\\r\\n`: a transfer as text breaks it visibly) |
| 4 | format version |
| 4 | length of the header |
| | header (`maskfile.header`): canonical JSON (sorted keys, no spaces, ASCII), under zlib |
| | the masks under the codec (see below) |
| | the arrays, one after the other in the order of the header, under the arrays' codec |
| 32 | SHA-256 of everything before it |

The general codecs compress the bits of all leaves in the order of the header, most significant
first, padded with 0; `entropy` (`maskfile.entropy`) codes them by a model of masks. Version 1
has no codec and no arrays, and its header and bits are uncompressed. A file has no timestamps: the
same content gives the same bytes.
"""

import hashlib
import json
import math
import struct
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from jaxmask.errors import InputError, nearest
from jaxmask.maskfile import codec as codecs
from jaxmask.maskfile import entropy
from jaxmask.maskfile import header as headers

OFF = {"binary": 0, "sign": -1}  # the value of a bit that is not set, by kind
MAGIC = b"\x89JMASK\r\n"
VERSION = 2

_PREFIX = struct.Struct("<8sII")
_DIGEST = hashlib.sha256().digest_size
_AGAIN = "; copy it again"


class Content(NamedTuple):
    """What is in a file: masks are bool, or int8 of {-1, 1} for the kind `"sign"`."""

    version: int
    header: dict[str, Any]
    masks: dict[str, np.ndarray]
    arrays: dict[str, np.ndarray]


def encode(
    leaves: dict[str, Any],
    metadata: dict[str, str] | None = None,
    arrays: dict[str, Any] | None = None,
    base: tuple[str, str] | None = None,
    codec: str = "entropy",
    weights: dict[str, Any] | None = None,
) -> bytes:
    """The bytes of masks and arrays by path; the same content gives the same bytes.

    Masks come to the host one leaf after the other, and are kept there as bool.

    With `weights`, the frozen ones by path, the masks take fewer bytes under `entropy`, and a
    reader needs the same weights.

    Raises:
      InputError: for a leaf that is not a mask, an array that is not one, an unsafe path, metadata
        that is not str to str, an unknown codec.
    """
    if codec not in codecs.CODECS:
        raise InputError(f"unknown codec {codec!r}{nearest(str(codec), codecs.CODECS)}")
    codecs.require(codec)
    if weights is not None and codec != "entropy":
        raise InputError(f"the codec {codec!r} uses no weights; give none, or 'entropy'")
    kind, masks = _masks(leaves)
    others = {path: _array(path, leaf) for path, leaf in sorted((arrays or {}).items())}
    header = {
        "arrays": [[path, leaf.dtype.name, list(leaf.shape)] for path, leaf in others.items()],
        "base": None if base is None else list(base),
        "codec": codec if weights is None else codecs.GIVEN_WEIGHTS,
        "kind": kind,
        "leaves": [[path, list(leaf.shape)] for path, leaf in masks.items()],
        "metadata": {} if metadata is None else metadata,
        "sizes": [0, 0],
    }
    if fault := headers.fault(header, VERSION):
        raise InputError(fault)
    parts = [
        _stored_bits(codec, masks, weights),
        codecs.compress(_codec_of_arrays(codec), b"".join(map(_bytes, others.values()))),
    ]
    text = headers.packed({**header, "sizes": [len(part) for part in parts]})
    body = b"".join([_PREFIX.pack(MAGIC, VERSION, len(text)), text, *parts])
    return body + hashlib.sha256(body).digest()


def decode(content: bytes, weights: dict[str, Any] | None = None) -> Content:
    """What `encode` was given.

    Raises:
      InputError: for bytes that `encode` did not make, or a newer version did; for masks that
        are coded given different weights.
    """
    version, header, masks, arrays = parts(content)
    codecs.require(header["codec"])
    if header["codec"] != codecs.GIVEN_WEIGHTS:
        weights = None
    elif weights is None:
        raise InputError("its masks are coded given the frozen weights; give weights")
    known = _weights(weights, {path: tuple(shape) for path, shape in header["leaves"]})
    if not masks.startswith(entropy.mark(known)):
        raise InputError(
            "its masks are coded given different weights; give those it was saved with"
        )
    try:
        bits = _bits(header, masks, known)
        data = codecs.decompress(
            _codec_of_arrays(header["codec"]), arrays, headers.array_bytes(header)
        )
    except (InputError, MemoryError) as error:
        raise InputError(f"damaged: {str(error) or 'too large for memory'}{_AGAIN}") from None
    signs = header["kind"] == "sign"
    leaves = {
        path: np.where(leaf, 1, -1).astype(np.int8) if signs else leaf
        for (path, _), leaf in zip(header["leaves"], bits, strict=True)
    }
    return Content(version, header, leaves, _arrays(header, data))


def _codec_of_arrays(codec: str) -> str:
    return codec if codec in codecs.GENERAL else "zstd"


def _stored_bits(codec: str, masks: dict[str, np.ndarray], weights: dict[str, Any] | None) -> bytes:
    if codec == "entropy":
        known = _weights(weights, {path: leaf.shape for path, leaf in masks.items()})
        return entropy.compress(list(masks.values()), known)
    return codecs.compress(codec, b"".join(_packed(masks.values())))


def _packed(masks: Iterable[np.ndarray]) -> Iterator[bytes]:
    """The bits of all leaves, eight a byte, leaf by leaf; the last byte is padded with 0."""
    rest = np.zeros(0, bool)
    for leaf in masks:
        bits = np.concatenate([rest, leaf.reshape(-1)])
        whole = bits.size - bits.size % 8
        yield np.packbits(bits[:whole]).tobytes()
        rest = bits[whole:].copy()
    yield np.packbits(rest).tobytes()


def _weights(
    weights: dict[str, Any] | None, shapes: dict[str, tuple[int, ...]]
) -> list[np.ndarray] | None:
    """The weights of the masks, in their order."""
    if weights is None:
        return None
    for path, shape in shapes.items():
        if path not in weights or np.shape(weights[path]) != shape:
            raise InputError(f"the weights have no {path!r} of shape {shape}; give the frozen ones")
    return [np.asarray(weights[path]) for path in shapes]


def _bits(
    header: dict[str, Any], stored: bytes, weights: list[np.ndarray] | None
) -> list[np.ndarray]:
    """The masks of bool, in the order of the header."""
    shapes = [tuple(shape) for _, shape in header["leaves"]]
    if header["codec"] not in codecs.GENERAL:
        return entropy.decompress(stored, shapes, weights)
    count = headers.bits(header)
    packed = np.frombuffer(codecs.decompress(header["codec"], stored, -(-count // 8)), np.uint8)
    if count % 8 and packed[-1] % (1 << -count % 8):
        raise InputError("bits are set beyond the last weight")
    flat = np.unpackbits(packed, count=count).view(bool)
    ends = np.cumsum([math.prod(shape) for shape in shapes], dtype=np.int64)
    return [part.reshape(shape) for part, shape in zip(np.split(flat, ends), shapes)]


def _arrays(header: dict[str, Any], data: bytes) -> dict[str, np.ndarray]:
    arrays, start = {}, 0
    for path, name, shape in header["arrays"]:
        dtype, count = headers.DTYPES[name], math.prod(shape)
        flat = np.frombuffer(data, dtype.newbyteorder("<"), count, start).astype(dtype)
        if name == "bool" and np.any(np.frombuffer(data, np.uint8, count, start) > 1):
            raise InputError(f"damaged: array {path!r} is not bool{_AGAIN}")
        arrays[path] = flat.reshape(shape)
        start += count * dtype.itemsize
    return arrays


def _bytes(array: np.ndarray) -> bytes:
    return array.astype(array.dtype.newbyteorder("<")).tobytes()


def _mask(path: str, leaf: Any) -> np.ndarray:
    dtype = getattr(leaf, "dtype", np.dtype(object))
    if not any(jnp.issubdtype(dtype, kind) for kind in (jnp.bool_, jnp.integer, jnp.floating)):
        raise InputError(f"mask {path!r} is {type(leaf).__name__} ({dtype}), not an array of bits")
    return np.asarray(leaf)


def _array(path: str, leaf: Any) -> np.ndarray:
    dtype = getattr(leaf, "dtype", np.dtype(object))
    if getattr(dtype, "name", "") not in headers.DTYPES:
        raise InputError(
            f"array {path!r} is {type(leaf).__name__} ({dtype}), not an array of "
            f"{', '.join(headers.DTYPES)}"
        )
    return np.asarray(leaf)


def _masks(leaves: dict[str, Any]) -> tuple[str, dict[str, np.ndarray]]:
    """`"sign"` if any mask holds -1, else `"binary"`; and the masks, sorted by path, as bool.

    Raises:
      InputError: naming a leaf that is not a mask of that kind.
    """
    found: dict[str, np.ndarray] = {}
    faults: dict[str, list[str]] = {"binary": [], "sign": []}
    kind = "binary"
    for path, leaf in sorted(leaves.items()):
        values = _mask(path, leaf)
        found[path] = values > 0
        if np.any(values < 0):
            kind = "sign"
        for each, off in OFF.items():
            if not np.all((values == 1) | (values == off)):
                faults[each].append(path)
    if faults[kind]:
        raise InputError(
            f"mask {faults[kind][0]!r} has values other than {OFF[kind]} and 1; save what "
            "a transform's mask or keep_top returns, of one kind"
        )
    return kind, found


def parts(content: bytes) -> tuple[int, dict[str, Any], bytes, bytes]:
    """The version, the header and both parts as stored; checks all but the parts' content."""
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
    header = _parsed(content[_PREFIX.size : start], version)
    if version == 1:
        header |= {"arrays": [], "base": None, "codec": "raw"}
        header["sizes"] = [(headers.bits(header) + 7) // 8, 0]
    # Check the claimed sizes against the real one before allocating anything of a claimed size.
    surplus = len(content) - start - _DIGEST - sum(header["sizes"])
    if surplus < 0:
        raise InputError(f"truncated: {-surplus} bytes are missing{_AGAIN}")
    if surplus > 0:
        raise InputError(f"damaged: {surplus} bytes too long{_AGAIN}")
    if hashlib.sha256(content[:-_DIGEST]).digest() != content[-_DIGEST:]:
        raise InputError(f"damaged: the checksum does not match{_AGAIN}")
    middle = start + header["sizes"][0]
    return version, header, content[start:middle], content[middle:-_DIGEST]


def _parsed(text: bytes, version: int) -> dict[str, Any]:
    try:
        text = text if version == 1 else headers.unpacked(text)
        header = json.loads(text.decode("ascii"))
        canonical = headers.canonical(header) == text
    except (ValueError, RecursionError):
        raise InputError(f"damaged: the header is not JSON{_AGAIN}") from None
    fault = headers.fault(header, version)
    # Not canonical: duplicate keys, or bytes that the same content would not give.
    if fault or not canonical:
        raise InputError(f"damaged: {fault or 'the header is not canonical JSON'}{_AGAIN}")
    return header
