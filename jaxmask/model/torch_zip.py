"""PyTorch's zip files without PyTorch: tensors and plain containers, nothing is executed.

A file of `torch.save` is a zip archive of `NAME/data.pkl`, a pickle of protocol 2 in which tensors
refer to storages, and `NAME/data/KEY`, the bytes of each storage. A pickle may call any function
that it names; here it finds none but the five that a dict of tensors needs, and these build arrays.
"""

import io
import pickle
import pickletools
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

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
    "LONG1 LONG4 BINFLOAT BINUNICODE EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_DICT SETITEM "
    "SETITEMS EMPTY_LIST APPEND APPENDS BINPUT LONG_BINPUT BINGET LONG_BINGET"
)


class _RefusedError(Exception):
    """What is wrong with a file, after its name."""


class _Storage(NamedTuple):
    """Numbers of a file, and the name of their dtype."""

    content: bytes
    dtype: str


class _Dict(dict[Any, Any]):
    """A dict for an OrderedDict; PyTorch pickles a note of versions with state dicts."""

    def __setstate__(self, state: Any) -> None:
        pass


def read(path: Path) -> Any:
    """The content of a file, with read-only arrays for tensors, of the dtypes that are stored.

    Tensors that share a storage share its memory. bfloat16 and float8 are those of `ml_dtypes`.

    Raises:
        InputError: it is damaged, in another of PyTorch's formats, or holds more than tensors.
    """
    try:
        if sys.byteorder != "little":
            raise _RefusedError(
                "has little-endian numbers; install PyTorch to read it on this machine"
            )
        if not zipfile.is_zipfile(path):
            raise _RefusedError(
                "is not in PyTorch's zip format (one from before PyTorch 1.6, or damaged); install "
                "PyTorch, or save it again with a newer one"
            )
        with zipfile.ZipFile(path) as archive:
            return _Archive(archive, path.stat().st_size).content()
    except _RefusedError as refused:
        raise InputError(f"{path} {refused}") from None
    except Exception as error:  # a damaged pickle fails in many ways
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"{path} is not a complete PyTorch file ({reason})") from None


class _Archive:
    """An open archive, and the storages that were read from it."""

    def __init__(self, archive: zipfile.ZipFile, size: int) -> None:
        entries = archive.infolist()
        names = [entry.filename for entry in entries]
        pickles = [name for name in names if name.partition("/")[2] == "data.pkl"]
        if any(name.endswith(("/constants.pkl", "/code.pkl")) for name in names):
            raise _RefusedError("is a TorchScript archive; save the network's state_dict()")
        if len(pickles) != 1 or len(set(names)) < len(names):
            raise _RefusedError("is a zip archive, but none of PyTorch's; give a file of weights")
        # PyTorch never compresses: what is larger outside than inside is no file of its own
        if any(entry.compress_type for entry in entries) or size < sum(
            entry.file_size for entry in entries
        ):
            raise _RefusedError("is compressed, as PyTorch's files never are; save it again")
        self.archive, self.names = archive, set(names)
        self.root = pickles[0].removesuffix("data.pkl")
        self.storages: dict[str, bytes] = {}

    def content(self) -> Any:
        order = self.root + "byteorder"
        if order in self.names and self.archive.read(order) != b"little":
            raise _RefusedError("has big-endian numbers; save it on a little-endian machine")
        data = self.archive.read(self.root + "data.pkl")
        _check(data)
        return _Unpickler(io.BytesIO(data), self.storage).load()

    def storage(self, key: str) -> bytes:
        if key not in self.storages:
            self.storages[key] = self.archive.read(f"{self.root}data/{key}")
        return self.storages[key]


def _check(data: bytes) -> None:
    """Raises _RefusedError for opcodes of other protocols, and for places in its table of objects
    that lie beyond the length of the pickle, as so much memory would be taken."""
    known = _PROTOCOL_2.split()
    for opcode, argument, _ in pickletools.genops(data):
        if opcode.name not in known or (
            opcode.name == "LONG_BINPUT" and (argument or 0) > len(data)
        ):
            raise _RefusedError(
                f"has a pickle with {opcode.name}, not of protocol 2; install PyTorch, or save the "
                "network's state_dict() again"
            )


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, storage: Callable[[str], bytes]) -> None:
        super().__init__(file)
        self.storage = storage
        # made anew for each file, as a pickle may set attributes of what it finds
        self.known: dict[tuple[str, str], Any] = {
            ("collections", "OrderedDict"): type("_Dict", (_Dict,), {}),
            ("torch._utils", "_rebuild_tensor_v2"): lambda *given: _tensor(*_plain(given, 6)),
            ("torch._utils", "_rebuild_tensor_v3"): lambda *given: _tensor(*_plain(given, 7)),
            ("torch._utils", "_rebuild_parameter"): lambda data, requires_grad, hooks: data,
            ("torch.storage", "UntypedStorage"): _BYTES,
            **{("torch", name): dtype for name, dtype in _STORAGES.items()},
            **{("torch", name): name for name in _DTYPES},
        }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.known:
            raise _RefusedError(
                f"is not a file of tensors alone (it holds a {module}.{name}); save the network's "
                "state_dict(), or install PyTorch to read what is beside it"
            )
        return self.known[module, name]

    def persistent_load(self, pid: Any) -> _Storage:
        kind, dtype, key, _, count = pid
        if kind != "storage":
            raise ValueError(f"a reference to {kind}")
        content, size = self.storage(key), 1 if dtype == _BYTES else _DTYPES[dtype].itemsize
        if not _whole(count) or len(content) != count * size:
            raise ValueError(f"storage {key} has {len(content)} bytes for {count} of {dtype}")
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
    requires_grad: bool,
    hooks: Any,
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
