"""PyTorch's zip files (1.6 and later) without PyTorch.

Such a file is a zip archive of `NAME/data.pkl`, a pickle in which tensors refer to storages, and
`NAME/data/KEY`, the bytes of each storage.
"""

import io
import zipfile
from pathlib import Path
from typing import Any

from jaxmask.model import torch_pickle
from jaxmask.model.torch_pickle import RefusedError


def begins(path: Path) -> bool:
    """Whether a file begins as a zip archive."""
    with path.open("rb") as file:
        return file.read(4) == b"PK\3\4"


def read(path: Path) -> Any:
    """The content of a file, with read-only arrays for tensors, of the dtypes that are stored.

    Tensors that share a storage share its memory. bfloat16 and float8 are those of `ml_dtypes`.

    Raises:
        InputError: it is damaged, in another format, or holds more than tensors and plain values.
    """
    with torch_pickle.reading(path), zipfile.ZipFile(path) as archive:
        return _Archive(archive, path.stat().st_size).content()


class _Archive:
    """An open archive, and the storages that were read from it."""

    def __init__(self, archive: zipfile.ZipFile, size: int) -> None:
        entries = archive.infolist()
        names = [entry.filename for entry in entries]
        pickles = [name for name in names if name.partition("/")[2] == "data.pkl"]
        if any(name.endswith(("/constants.pkl", "/code.pkl")) for name in names):
            raise RefusedError("is a TorchScript archive; save the network's state_dict()")
        if len(pickles) != 1 or len(set(names)) < len(names):
            raise RefusedError("is a zip archive, but none of PyTorch's; give a file of weights")
        # PyTorch never compresses: what is larger outside than inside is no file of its own
        if any(entry.compress_type for entry in entries) or size < sum(
            entry.file_size for entry in entries
        ):
            raise RefusedError("is compressed, as PyTorch's files never are; save it again")
        self.archive, self.names = archive, set(names)
        self.root = pickles[0].removesuffix("data.pkl")
        self.storages: dict[Any, bytes] = {}

    def content(self) -> Any:
        order = self.root + "byteorder"
        if order in self.names and self.archive.read(order) != b"little":
            raise RefusedError("has big-endian numbers; save it on a little-endian machine")
        data = io.BytesIO(self.archive.read(self.root + "data.pkl"))
        return torch_pickle.load(data, self.storage)

    def storage(self, key: Any, count: int, size: int) -> bytes:
        if key not in self.storages:
            self.storages[key] = self.archive.read(f"{self.root}data/{key}")
        return self.storages[key]
