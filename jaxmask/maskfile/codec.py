"""Codecs of a mask file's parts: bytes to fewer bytes and back, never to more than declared.

General codecs take bytes; `entropy`, which models masks, has its own module. Settings are each
library's defaults, as in the published rule for counting bytes.
"""

import bz2
import importlib.util
import lzma
import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

from jaxmask.errors import InputError


class Codec(NamedTuple):
    """`decompress(data, size)` stops after `size` bytes, or one more, whatever `data` claims."""

    compress: Callable[[bytes], bytes]
    decompress: Callable[[bytes, int], bytes]
    expansion: int  # most bytes out per byte in, in round numbers


def _stream(decompressor: Callable[[], Any]) -> Callable[[bytes, int], bytes]:
    """For the standard library's decompressors, which take a limit."""

    def decompress(data: bytes, size: int) -> bytes:
        stream = decompressor()
        # One more than expected, to notice a surplus; and a limit of 0 would mean none.
        content = stream.decompress(data, size + 1)
        if not stream.eof and len(content) <= size:
            # for zlib, only the checksum may be left
            content += stream.decompress(getattr(stream, "unconsumed_tail", b""), 1)
        if not stream.eof or stream.unused_data:
            raise ValueError("it does not end where it should")
        return content

    return decompress


def _cramjam(name: str, expansion: int, **settings: Any) -> Codec:
    """For the compiled codecs, which fill a preallocated buffer."""

    def compress(data: bytes) -> bytes:
        import cramjam

        return bytes(getattr(cramjam, name).compress(data, **settings))

    def decompress(data: bytes, size: int) -> bytes:
        import cramjam

        buffer = bytearray(size)
        try:
            written = getattr(cramjam, name).decompress_into(data, buffer)
        except cramjam.DecompressionError as error:
            raise ValueError(str(error)) from None
        return bytes(buffer[:written])

    return Codec(compress, decompress, expansion)


def _gzip(data: bytes) -> bytes:
    # not gzip.compress, whose header differs between versions of Python
    stream = zlib.compressobj(9, wbits=31)
    return stream.compress(data) + stream.flush()


GENERAL: dict[str, Codec] = {
    "raw": Codec(bytes, lambda data, size: data, 1),
    "gzip": Codec(_gzip, _stream(lambda: zlib.decompressobj(wbits=31)), 2**11),
    "bz2": Codec(bz2.compress, _stream(bz2.BZ2Decompressor), 2**21),
    "lzma": Codec(
        lzma.compress,
        # a few bytes may ask for a dictionary of gigabytes; the default needs 9 MB to decode
        _stream(lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=2**26)),
        2**14,
    ),
    "zstd": _cramjam("zstd", 2**16, level=3),
    "lz4": _cramjam("lz4", 2**8),
    "snappy": _cramjam("snappy", 2**6),
}
CODECS = ("entropy", *GENERAL)
# also allowed in a header: `entropy` that needs the frozen weights to decode
GIVEN_WEIGHTS = "entropy_given_weights"
_SLACK = 64


# the packages of the codecs that the standard library does not have
_PACKAGES = {
    "entropy": ("constriction", "cramjam"),  # of masks, and of the arrays beside them
    "entropy_given_weights": ("constriction", "cramjam"),
    **dict.fromkeys(("zstd", "lz4", "snappy"), ("cramjam",)),
}


def require(name: str) -> None:
    """Raises InputError where a codec's package is not installed."""
    for package in _PACKAGES.get(name, ()):
        if importlib.util.find_spec(package) is None:
            raise InputError(
                f"the codec {name!r} needs the package {package}: pip install "
                "'jaxmask[experiments]', or save with codec='lzma'"
            )


def plausible(name: str, stored: int, size: int) -> bool:
    """Whether `stored` bytes can hold `size` at the codec's best compression."""
    return size <= (stored + _SLACK) * GENERAL[name].expansion


def compress(name: str, data: bytes) -> bytes:
    """`data` under the codec `name`; the same data and library give the same bytes."""
    return GENERAL[name].compress(data)


def decompress(name: str, data: bytes, size: int) -> bytes:
    """The inverse of `compress`, using memory on the order of `size`.

    Raises:
      InputError: unless the data is exactly one compressed stream of `size` bytes.
    """
    if not plausible(name, len(data), size):
        raise InputError(f"{len(data)} bytes of {name} cannot hold {size}")
    try:
        content = GENERAL[name].decompress(data, size)
    except (ValueError, OSError, EOFError, MemoryError, zlib.error, lzma.LZMAError) as error:
        raise InputError(f"not {size} bytes of {name} ({' '.join(str(error).split())})") from None
    if len(content) != size:
        raise InputError(f"not {size} bytes of {name}, but {len(content)} or more")
    return content
