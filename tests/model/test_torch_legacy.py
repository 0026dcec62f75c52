"""PyTorch's files from before its zip format, without PyTorch."""

import pickle
import struct
import sys

import numpy as np
import pytest
from torch_bytes import MACHINE, NUMBERS, body, legacy, state, storage, tensor

from jaxmask.errors import InputError
from jaxmask.model import torch_file, torch_legacy

OTHER = np.arange(4, dtype=np.float32) + 10
PAIR = {"1": OTHER.tobytes(), "0": NUMBERS.tobytes()}
SECOND = tensor((4,), (1,), where=storage(key="1", count=4))


def part(first, length, count=6, key="0", view="7"):
    """A storage that was a part of another, as of files until PyTorch 0.3."""
    whole = storage(key=key, count=count)[:-2]
    return whole + body((view, first, length)) + b"tQ"


def test_storages_are_in_the_order_of_their_keys(tmp_path):
    """Which is not that of the tensors."""
    found = torch_legacy.read(legacy(tmp_path, state(tensor(), SECOND, tensor((6,), (1,))), PAIR))
    np.testing.assert_array_equal(found["a"], NUMBERS.reshape(2, 3))
    np.testing.assert_array_equal(found["b"], OTHER)
    assert np.shares_memory(found["a"], found["c"])


def test_parts_of_storages(tmp_path):
    parts = tensor((2,), (1,), 1, where=part(2, 4)), tensor((2,), (1,), 4, where=part(0, 6))
    found = torch_legacy.read(legacy(tmp_path, state(tensor(), *parts)))
    np.testing.assert_array_equal(found["b"], [3, 4])
    np.testing.assert_array_equal(found["c"], [4, 5])
    assert np.shares_memory(found["a"], found["b"])


@pytest.mark.parametrize(
    "beyond",
    [
        tensor((4,), (1,), 1, where=part(2, 4)),
        tensor((1,), (1,), where=part(3, 4)),
        tensor((1,), (1,), where=part(-2, 4)),
        tensor((1,), (1,), where=part(0, 2.0)),
        tensor((1,), (1,), where=storage()[:-2] + body((1, 2)) + b"tQ"),
        tensor((1,), (1,), where=storage()[:-2] + body(None) * 2 + b"tQ"),
    ],
)
def test_parts_beyond_their_storage_are_refused(beyond, tmp_path):
    with pytest.raises(InputError, match="not a complete PyTorch file") as caught:
        torch_legacy.read(legacy(tmp_path, state(tensor(), beyond)))
    assert "\n" not in str(caught.value)


def test_a_file_of_python_2(tmp_path):
    """Its texts are of bytes, its OrderedDict a list of lists, its tensors of the first kind."""

    def text(value):
        return b"U" + bytes([len(value)]) + value

    where = b"(" + text(b"storage") + b"ctorch\nFloatStorage\n" + text(b"0") + text(b"cuda:1")
    where += body(6) + b"NtQ"
    made = b"ctorch._utils\n_rebuild_tensor\n(" + where + body(0) + body((2, 3)) + body((3, 1))
    long = b"T" + struct.pack("<i", 300) + "\u00fc".encode() * 150
    pairs = b"](](" + text(b"conv1.weight") + made + b"tRe](" + long + body(3) + b"ee"
    content = b"\x80\x02ccollections\nOrderedDict\n" + pairs + b"\x85R."
    found = torch_legacy.read(legacy(tmp_path, content))
    assert list(found) == ["conv1.weight", "\u00fc" * 150]
    np.testing.assert_array_equal(found["conv1.weight"], NUMBERS.reshape(2, 3))


WHOLE = state(tensor(), SECOND)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: legacy(p, WHOLE, PAIR, {"little_endian": False}), "a big-endian machine"),
        (lambda p: legacy(p, WHOLE, PAIR, {"little_endian": 0}), "a big-endian machine"),
        (lambda p: legacy(p, WHOLE, PAIR, {}), "not a complete"),
        (lambda p: legacy(p, WHOLE, PAIR, version=1000), "begins as none of PyTorch's"),
        (lambda p: legacy(p, WHOLE, PAIR, MACHINE, ["0"]), "not those of its tensors"),
        (lambda p: legacy(p, WHOLE, PAIR, MACHINE, ["0", "1", "1"]), "not those of its tensors"),
        (lambda p: legacy(p, WHOLE, PAIR, MACHINE, ["0", "2"]), "not those of its tensors"),
        (lambda p: legacy(p, WHOLE, PAIR, MACHINE, {"0": 1, "1": 2}), "not those of its tensors"),
        (lambda p: legacy(p, WHOLE, PAIR, MACHINE, ["0", 1]), "not a complete"),
        (lambda p: legacy(p, WHOLE, PAIR, MACHINE, ["0", "1"]), "4 elements is not all there"),
        (lambda p: legacy(p, state(tensor()), PAIR), "not those of its tensors"),
        (lambda p: legacy(p, state(tensor(), tensor(where=storage(b"ctorch\nHalfStorage\n")))),
         "24 bytes for 6 of float16"),
        (lambda p: legacy(p, state(tensor(where=storage(count=2**50)))), "more than the file"),
        (lambda p: legacy(p, state(*(tensor(where=storage(key=k, count=50)) for k in "012"))),
         "storage 2 has 50 elements, more than the file"),
        (lambda p: legacy(p, WHOLE, PAIR, size=2), "is not all there"),
    ],
)  # fmt: skip
def test_other_files_are_refused_in_a_line(make, message, tmp_path):
    with pytest.raises(InputError, match=message) as caught:
        torch_legacy.read(make(tmp_path))
    assert "\n" not in str(caught.value)


def test_lengths_but_the_whole_is_refused(tmp_path):
    content = legacy(tmp_path, WHOLE, PAIR).read_bytes()
    path = tmp_path / "b.pth"
    for length in (*range(0, len(content) - 60, 7), *range(len(content) - 60, len(content), 3)):
        path.write_bytes(content[:length])
        with pytest.raises(InputError, match="not a complete PyTorch file"):
            torch_legacy.read(path)
    path.write_bytes(content + b"\0")
    with pytest.raises(InputError, match="more after its last storage"):
        torch_legacy.read(path)


class Run:
    def __reduce__(self):
        return sys.exit, ("ran",)


@pytest.mark.parametrize("where", ["machine", "keys"])
@pytest.mark.parametrize("hostile", [Run(), "reference"])
def test_the_other_pickles_are_no_way_in(where, hostile, tmp_path):
    path = legacy(tmp_path, state(tensor()), **{where: "here"})
    refers = b"\x80\x02" + storage() + b"."
    other = refers if hostile == "reference" else pickle.dumps(hostile, 2)
    path.write_bytes(path.read_bytes().replace(pickle.dumps("here", 2), other))
    message = "outside the object" if hostile == "reference" else "it holds a sys.exit"
    with pytest.raises(InputError, match=message):
        torch_legacy.read(path)


def test_files_of_others(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    path = tmp_path / "a.pth"
    for content in (b"PK", b"\x80\x04\x95", b"\x93NUMPY", b"./data" + bytes(600)):
        path.write_bytes(content)
        with pytest.raises(InputError, match="begins as none of PyTorch's files"):
            torch_file.read(path)
    assert set(torch_file.read(legacy(tmp_path, state(tensor())))) == {""}
