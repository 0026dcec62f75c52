"""PyTorch's files from before its zip format without PyTorch.

Such a file is a sequence of pickles: a magic number, a version, the kind of machine, the object,
and the keys of its storages; then the storages in that order, each as the number of its elements in
8 bytes and the elements. There are no checksums.
"""

import pickle
import struct
from io import BufferedReader
from pathlib import Path
from typing import Any

from jaxmask.model import torch_pickle
from jaxmask.model.torch_pickle import RefusedError

_BEGINNING = pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2)


def read(path: Path) -> Any:
    """The content of a file, with read-only arrays for tensors, of the dtypes that are stored.

    Tensors that share a storage share its memory.

    Raises:
        InputError: it is damaged, in another format, or holds more than tensors and plain values.
    """
    with torch_pickle.reading(path), path.open("rb") as stream:
        beginning = stream.read(len(_BEGINNING))
        if not _BEGINNING.startswith(beginning):
            raise RefusedError(
                "begins as none of PyTorch's files; give one that torch.save wrote, with its "
                "default protocol"
            )
        return _content(stream, path.stat().st_size)


def _content(stream: BufferedReader, size: int) -> Any:
    machine = torch_pickle.load(stream, _no_storage)
    if machine["little_endian"] is not True:
        raise RefusedError("was saved on a big-endian machine; save it on a little-endian one")
    storages: dict[Any, tuple[bytearray, int]] = {}  # and the bytes of an element
    left = size

    def storage(key: Any, count: int, itemsize: int) -> memoryview:
        """Zeros, until the storages are read."""
        nonlocal left
        if key not in storages:
            left -= count * itemsize
            if left < 0:
                raise ValueError(f"storage {key} has {count} elements, more than the file")
            storages[key] = bytearray(count * itemsize), itemsize
        return memoryview(storages[key][0]).toreadonly()

    found = torch_pickle.load(stream, storage)
    keys = torch_pickle.load(stream, _no_storage)
    if not isinstance(keys, list) or sorted(keys) != sorted(storages):
        raise ValueError("its storages are not those of its tensors")
    for key in keys:
        _fill(*storages[key], stream)
    if stream.read(1):
        raise ValueError("there is more after its last storage")
    return found


def _no_storage(key: Any, count: int, itemsize: int) -> bytes:
    raise ValueError(f"a reference to storage {key} outside the object")


def _fill(content: bytearray, itemsize: int, stream: BufferedReader) -> None:
    (count,) = struct.unpack("<q", stream.read(8))
    if count * itemsize != len(content) or stream.readinto(content) != len(content):
        raise ValueError(f"a storage of {count} elements is not all there")
