"""PyTorch's zip files without PyTorch: what is no such file is refused."""

import pickle
import sys
import zipfile

import numpy as np
import pytest
from torch_bytes import NUMBERS, body, state, tensor, zipped

from jaxmask.errors import InputError
from jaxmask.model import torch_file, torch_zip


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: zipped(p, state(tensor()), byteorder="big"), "has big-endian numbers"),
        (lambda p: zipped(p, state(tensor()), constants_pkl="x"), "is a TorchScript archive"),
        (lambda p: zipped(p, state(tensor()), compression=zipfile.ZIP_DEFLATED), "is compressed"),
        (lambda p: zipped(p, state(tensor()), {}), "not a complete PyTorch file"),
        (lambda p: zipped(p, state(tensor())[:-9]), "not a complete PyTorch file"),
        (lambda p: zipped(p, pickle.dumps({"a": np.float64(1)}, 2)),
         r"it holds a numpy\S*multiarray.scalar\); save the network's state_dict\(\), or install"),
        (lambda p: zipped(p, b""), "not a complete PyTorch file"),
    ],
)  # fmt: skip
def test_other_archives_are_refused_in_a_line(make, message, tmp_path):
    with pytest.raises(InputError, match=message) as caught:
        torch_zip.read(make(tmp_path))
    assert "\n" not in str(caught.value)


def test_other_files_are_refused_in_a_line(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    path = tmp_path / "a.pth"
    path.write_bytes(b"PK\3\4")
    with pytest.raises(InputError, match=r"not a complete PyTorch file \(File is not a zip"):
        torch_file.read(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("weights.npy", "x")
    with pytest.raises(InputError, match="but none of PyTorch's"):
        torch_file.read(path)
    with pytest.raises(InputError, match=r"holds a float, not a state dict"):
        torch_file.read(zipped(tmp_path, pickle.dumps(1.5, 2)))
    endless = b"\x80\x02}q\x07" + body("a") + b"h\x07s."
    with pytest.raises(InputError, match=r"holds dicts without an end"):
        torch_file.read(zipped(tmp_path, endless))


def test_damage_in_the_numbers_is_found(tmp_path):
    path = zipped(tmp_path, state(tensor()))
    content = path.read_bytes()
    path.write_bytes(content.replace(NUMBERS.tobytes(), NUMBERS[::-1].tobytes()))
    with pytest.raises(InputError, match="Bad CRC-32 for file 'a/data/0'"):
        torch_zip.read(path)
