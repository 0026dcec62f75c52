"""Pickles of PyTorch's files without PyTorch: tensors and plain containers, nothing is executed.

A pickle may call any function that it names; here it finds none but the few that a dict of tensors
needs, and these build arrays. Tensors refer to storages, whose bytes a file has beside its pickle.
"""

import io
import pickle
import pickletools
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import ml_dtypes
import numpy as np

from jaxmask.errors import InputError

_STORAGES = {
    "DoubleStorage": "float64", "FloatStorage": "float32", "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16", "LongStorage": "int64", "IntStorage": "int32",
    "ShortStorage": "int16", "CharStorage": "int8", "ByteStorage": "uint8", "BoolStorage": "bool",
    "ComplexFloatStorage": "complex64", "ComplexDoubleStorage": "complex128",
}  # fmt: skip
# these have no storages of their own: the tensor tells the dtype, and the storage has bytes
_OTHERS = ("uint16", "uint32", "uint64", "float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz",
           "float8_e5m2fnuz")  # fmt: skip
_DTYPES = {
    name: np.dtype(getattr(ml_dtypes, name, name)) for name in (*_STORAGES.values(), *_OTHERS)
}
_BYTES = "bytes"
# what pickles of protocol 2 consist of; others look up names in other ways
_PROTOCOL_2 = (
    "PROTO STOP GLOBAL REDUCE BUILD BINPERSID MARK NONE NEWTRUE NEWFALSE BININT BININT1 BININT2 "
    "LONG1 LONG4 BINFLOAT BINUNICODE BINSTRING SHORT_BINSTRING EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 "
    "TUPLE3 EMPTY_DICT SETITEM SETITEMS EMPTY_LIST APPEND APPENDS BINPUT LONG_BINPUT BINGET "
    "LONG_BINGET"
)
# the bytes of a storage, from its key, the number of its elements, and the bytes of each
StorageReader = Callable[[Any, int, int], bytes | memoryview]


class RefusedError(Exception):
    """What is wrong with a file, after its name."""


class _Storage(NamedTuple):
    """Numbers of a file, and the name of their dtype."""

    content: bytes | memoryview
    dtype: str


class _Dict(dict[Any, Any]):
    """A dict for an OrderedDict; PyTorch pickles a note of versions with state dicts."""

    def __setstate__(self, state: Any) -> None:
        pass


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turns whatever fails while a file is read into an InputError of one line."""
    try:
        if sys.byteorder != "little":
            raise RefusedError(
                "has little-endian numbers; install PyTorch to read it on this machine"
            )
        yield
    except RefusedError as refused:
        raise InputError(f"{path} {refused}") from None
    except Exception as error:  # a damaged pickle fails in many ways
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"{path} is not a complete PyTorch file ({reason})") from None


def load(stream: BinaryIO, storage: StorageReader) -> Any:
    """The object of the pickle that begins where the stream is; the stream is then behind it.

    Args:
        stream: a file that can seek.
        storage: gives the bytes of each storage that a tensor refers to.

    Raises:
        RefusedError: it holds more than tensors and plain values.
        Exception: it is damaged.
    """
    start = stream.tell()
    _check(stream)
    length = stream.tell() - start
    stream.seek(start)
    return _Unpickler(io.BytesIO(stream.read(length)), storage).load()


def _check(stream: BinaryIO) -> None:
    """Raises RefusedError for opcodes of other protocols, and for places in the table of objects
    beyond those that can be filled, as so much memory would be taken."""
    start, known = stream.tell(), _PROTOCOL_2.split()
    for opcode, argument, position in pickletools.genops(stream):
        if opcode.name not in known or (
            opcode.name == "LONG_BINPUT" and (argument or 0) > (position or 0) - start
        ):
            raise RefusedError(
                f"has a pickle with {opcode.name}, not of protocol 2; install PyTorch, or save the "
                "network's state_dict() again"
            )


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, storage: StorageReader) -> None:
        super().__init__(file, encoding="utf-8")  # of strings that Python 2 wrote
        self.storage = storage
        # made anew for each file, as a pickle may set attributes of what it finds
        self.known: dict[tuple[str, str], Any] = {
            ("collections", "OrderedDict"): type("_Dict", (_Dict,), {}),
            ("torch._utils", "_rebuild_tensor"): lambda *given: _tensor(*_plain(given, 4)),
            ("torch._utils", "_rebuild_tensor_v2"): lambda *given: _tensor(*_plain(given, 6)),
            ("torch._utils", "_rebuild_tensor_v3"): lambda *given: _tensor(*_plain(given, 7)),
            ("torch._utils", "_rebuild_parameter"): lambda data, requires_grad, hooks: data,
            ("torch.storage", "UntypedStorage"): _BYTES,
            **{("torch", name): dtype for name, dtype in _STORAGES.items()},
            **{("torch", name): name for name in _DTYPES},
        }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.known:
            raise RefusedError(
                f"is not a file of tensors alone (it holds a {module}.{name}); save the network's "
                "state_dict(), or install PyTorch to read what is beside it"
            )
        return self.known[module, name]

    def persistent_load(self, pid: Any) -> _Storage:
        kind, dtype, key, _, count, *view = pid
        if kind != "storage":
            raise ValueError(f"a reference to {kind}")
        size = 1 if dtype == _BYTES else _DTYPES[dtype].itemsize
        if not _whole(count):
            raise ValueError(f"storage {key} of {count} elements")
        content = self.storage(key, count, size)
        if len(content) != count * size:
            raise ValueError(f"storage {key} has {len(content)} bytes for {count} of {dtype}")
        if view not in ([], [None]):
            ((_, first, length),) = view
            if not _whole(first, length) or first + length > count:
                raise ValueError(f"a part of storage {key} that reaches beyond it")
            content = memoryview(content)[first * size : (first + length) * size]
        return _Storage(content, dtype)


def _plain(given: tuple[Any, ...], count: int) -> tuple[Any, ...]:
    """The first arguments; a further one says that numbers are conjugated or negated."""
    if any(given[count:]):
        raise ValueError("a tensor that is stored conjugated or negated")
    return given[:count]


def _whole(*numbers: Any) -> bool:
    return all(type(number) is int and number >= 0 for number in numbers)


def _tensor(
    storage: _Storage,
    offset: int,
    shape: tuple[int, ...],
    strides: tuple[int, ...],
    requires_grad: bool = False,
    hooks: Any = None,
    dtype: str = "",
) -> np.ndarray:
    """A view of a storage; offset and strides count elements.

    Raises:
        ValueError: it would reach beyond its storage.
    """
    if not isinstance(storage, _Storage):
        raise TypeError("a tensor without a storage")
    kind = _DTYPES[dtype or storage.dtype]
    if len(shape) != len(strides) or not _whole(offset, *shape, *strides):
        raise ValueError(f"a tensor of shape {shape} with strides {strides} at {offset}")
    if 0 in shape:
        return np.empty(shape, kind)
    last = offset + sum((length - 1) * stride for length, stride in zip(shape, strides))
    if last >= len(storage.content) // kind.itemsize:
        raise ValueError(f"a tensor of shape {shape} that reaches beyond its storage")
    steps = [stride * kind.itemsize for stride in strides]
    return np.ndarray(shape, kind, storage.content, offset * kind.itemsize, steps)
