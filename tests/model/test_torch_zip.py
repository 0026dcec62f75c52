"""PyTorch's zip files without PyTorch: equal arrays, and nothing but arrays."""

import os
import pickle
import sys
import zipfile

import numpy as np
import pytest

from jaxmask.errors import InputError
from jaxmask.model import torch_file, torch_zip

NUMBERS = np.arange(6, dtype=np.float32)


def body(value):
    """The opcodes that push a value."""
    return pickle.dumps(value, 2)[2:-1]


def storage(dtype=b"ctorch\nFloatStorage\n", key="0", count=6, kind="storage"):
    parts = body(kind), dtype, body(key), body("cpu"), body(count)
    return b"(" + b"".join(parts) + b"tQ"


def tensor(shape=(2, 3), strides=(3, 1), offset=0, more=b"", where=None):
    parts = where or storage(), body(offset), body(shape), body(strides)
    hooks = b"ccollections\nOrderedDict\n)R"
    return (
        b"ctorch._utils\n_rebuild_tensor_v2\n(" + b"".join(parts) + b"\x89" + hooks + more + b"tR"
    )


def state(*tensors):
    """The pickle of a dict of tensors a, b, ..."""
    items = b"".join(body("abc"[i]) + each for i, each in enumerate(tensors))
    return b"\x80\x02}(" + items + b"u."


def written(folder, content, records=None, compression=zipfile.ZIP_STORED, **more):
    records = {"0": NUMBERS.tobytes()} if records is None else records
    with zipfile.ZipFile(folder / "a.pth", "w", compression) as archive:
        archive.writestr("a/data.pkl", content)
        for key, numbers in records.items():
            archive.writestr(f"a/data/{key}", numbers)
        for name, text in more.items():
            archive.writestr(f"a/{name.replace('_', '.')}", text)
    return folder / "a.pth"


def test_tensors_are_views_of_their_storages(tmp_path):
    views = tensor(), tensor((3, 2), (1, 3)), tensor((2,), (2,), 1)
    found = torch_zip.read(written(tmp_path, state(*views), byteorder="little", version="3\n"))
    np.testing.assert_array_equal(found["a"], NUMBERS.reshape(2, 3))
    np.testing.assert_array_equal(found["b"], NUMBERS.reshape(2, 3).T)
    np.testing.assert_array_equal(found["c"], [1, 3])
    assert np.shares_memory(found["a"], found["b"])
    assert not found["a"].flags.writeable


def test_extents_may_end_where_the_storage_does(tmp_path):
    views = tensor((1,), (9,), 5), tensor((0, 7), (7, 1), 99), tensor((4, 2), (0, 5))
    found = torch_zip.read(written(tmp_path, state(*views)))
    assert (found["a"].tolist(), found["b"].shape) == ([5.0], (0, 7))
    np.testing.assert_array_equal(found["c"], np.tile([0.0, 5.0], (4, 1)))


@pytest.mark.parametrize(
    "beyond",
    [
        tensor((2, 4), (3, 1)),
        tensor((2, 3), (4, 1)),
        tensor((6,), (1,), 1),
        tensor((2,), (2**62,)),
        tensor((2**62, 2**62), (2**62, 1)),
        tensor((), (), 6),
        tensor((3,), (-1,), 2),
        tensor((2,), (1,), -1),
        tensor((2, 3), (1,)),
        tensor((2.0, 3), (3, 1)),
        tensor(where=storage(count=7)),
        tensor(where=storage(count=5)),
        tensor(where=storage(b"ctorch\nDoubleStorage\n")),
        tensor(where=storage(key="1")),
        tensor(where=storage(key="../data.pkl")),
        tensor(where=storage(kind="module")),
        tensor(where=body((NUMBERS.tobytes().decode("latin1"), "float32"))),
        tensor(where=storage(body("object"), count=3)),
        tensor(where=storage(body("O,O"), count=3)),
        tensor(where=storage(b"ctorch.storage\nUntypedStorage\n", count=24)),
        tensor(more=body({"conj": True})),
    ],
)
def test_a_tensor_that_its_storage_does_not_hold_is_refused(beyond, tmp_path):
    with pytest.raises(InputError, match=r"a.pth is not a complete PyTorch file") as caught:
        torch_zip.read(written(tmp_path, state(beyond)))
    assert "\n" not in str(caught.value)


class Run:
    def __reduce__(self):
        return os.mkdir, ("ran",)


class Built:
    """Its state would be set by a function of numpy."""

    def __reduce__(self):
        return np.ndarray, ((0,),), (1, (3,), np.dtype("O"), False, b"")


HOSTILE = {
    "reduce": pickle.dumps({"a": Run()}, 2),
    "stack": pickle.dumps({"a": Run()}, 4),
    "text": pickle.dumps({"a": Run()}, 0),
    "built": pickle.dumps({"a": Built()}, 2),
    "eval": b"\x80\x02c__builtin__\neval\n(" + body("__import__('os').mkdir('ran')") + b"tR.",
    "getattr": b"\x80\x02ctorch._utils\n_rebuild_tensor_v2.__globals__\n.",
    "module": b"\x80\x02ctorch\nload\n(" + body("a.pth") + b"tR.",
    "inst": b"\x80\x02(" + body("ran") + b"ios\nmkdir\n.",
    "obj": b"\x80\x02(cos\nmkdir\n" + body("ran") + b"o.",
    "newobj": b"\x80\x02cbuiltins\nlist\n)\x81.",
    "extension": b"\x80\x02\x82\x01.",
    "far memo": b"\x80\x02}r\xff\xff\xff\xff.",
    "dtype called": b"\x80\x02ctorch\nfloat32\n(" + body("ran") + b"tR.",
    "function set": b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n"
    + body((None, {"__code__": 1})) + b"b.",
    "class set": b"\x80\x02ccollections\nOrderedDict\n" + body({"keys": 1}) + b"b.",
    "tensor set": b"\x80\x02" + tensor() + body((1, (1,), "O", False, "x")) + b"b.",
    "tensor filled": b"\x80\x02" + tensor() + body(0) + body(7) + b"s.",
}  # fmt: skip


@pytest.mark.parametrize("which", HOSTILE)
def test_pickles_that_do_more_than_tensors_are_refused(which, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as caught:
        torch_zip.read(written(tmp_path, HOSTILE[which]))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "ran").exists()


def test_what_a_pickle_sets_stays_with_its_file(tmp_path):
    """A note of versions, as state dicts have it; and attributes of what builds tensors."""
    noted = b"ccollections\nOrderedDict\n)R" + body({"_metadata": 1, "items": 2}) + b"b"
    marked = b"ctorch._utils\n_rebuild_tensor_v2\n" + body({"mark": 1}) + b"b"
    items = body("a") + tensor() + body("b") + marked
    content = b"\x80\x02" + noted + b"(" + items + b"u."
    for _ in range(2):
        found = torch_zip.read(written(tmp_path, content))
        assert [name for name, _ in found.items()] == ["a", "b"]
        assert not hasattr(torch_zip._tensor, "mark")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: written(p, state(tensor()), byteorder="big"), "has big-endian numbers"),
        (lambda p: written(p, state(tensor()), constants_pkl="x"), "is a TorchScript archive"),
        (lambda p: written(p, state(tensor()), compression=zipfile.ZIP_DEFLATED), "is compressed"),
        (lambda p: written(p, state(tensor()), {}), "not a complete PyTorch file"),
        (lambda p: written(p, state(tensor())[:-9]), "not a complete PyTorch file"),
        (lambda p: written(p, pickle.dumps({"a": np.float64(1)}, 2)),
         r"it holds a numpy\S*multiarray.scalar\); save the network's state_dict\(\), or install"),
        (lambda p: written(p, b""), "not a complete PyTorch file"),
    ],
)  # fmt: skip
def test_other_archives_are_refused_in_a_line(make, message, tmp_path):
    with pytest.raises(InputError, match=message) as caught:
        torch_zip.read(make(tmp_path))
    assert "\n" not in str(caught.value)


def test_other_files_are_refused_in_a_line(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    path = tmp_path / "a.pth"
    for content in (b"", b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.", b"PK"):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"not in PyTorch's zip format .* install PyTorch"):
            torch_file.read(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("weights.npy", "x")
    with pytest.raises(InputError, match="but none of PyTorch's"):
        torch_file.read(path)
    with pytest.raises(InputError, match=r"holds a float, not a state dict"):
        torch_file.read(written(tmp_path, pickle.dumps(1.5, 2)))
    endless = b"\x80\x02}q\x07" + body("a") + b"h\x07s."
    with pytest.raises(InputError, match=r"holds dicts without an end"):
        torch_file.read(written(tmp_path, endless))


def test_damage_in_the_numbers_is_found(tmp_path):
    path = written(tmp_path, state(tensor()))
    content = path.read_bytes()
    path.write_bytes(content.replace(NUMBERS.tobytes(), NUMBERS[::-1].tobytes()))
    with pytest.raises(InputError, match="Bad CRC-32 for file 'a/data/0'"):
        torch_zip.read(path)


DTYPES = (
    "float64 float32 float16 bfloat16 int64 int32 int16 int8 uint8 bool complex64 complex128 "
    "uint16 uint32 uint64 float8_e4m3fn float8_e5m2 float8_e4m3fnuz float8_e5m2fnuz"
)


@pytest.mark.parity
def test_arrays_equal_torch(tmp_path, monkeypatch):
    torch = pytest.importorskip("torch")
    base = torch.randn(4, 5, 2)
    layer = torch.nn.BatchNorm2d(3)
    content = {
        **{
            name: torch.arange(1, 7).to(getattr(torch, name)).reshape(2, 3)
            for name in DTYPES.split()
        },
        **{"whole": base, "turned": base.permute(2, 0, 1), "part": base[1:, ::2, 1]},
        **{"wide": torch.ones(1).expand(3, 4), "none": torch.ones(0, 2), "one": torch.tensor(2.5)},
        "leaf": torch.nn.Parameter(torch.ones(2)),
    }
    # state_dict() notes versions, in an attribute of its own
    torch.save({"state": content, "more": [layer.state_dict()], "epoch": 3}, tmp_path / "a.pth")
    expected = torch.load(tmp_path / "a.pth", weights_only=True)
    found = torch_zip.read(tmp_path / "a.pth")
    assert (found["epoch"], list(found["more"][0])) == (3, list(expected["more"][0]))
    for name, leaf in {**expected["state"], **expected["more"][0]}.items():
        got = {**found["state"], **found["more"][0]}[name]
        assert (got.dtype.name, got.shape) == (str(leaf.dtype)[6:], tuple(leaf.shape))
        plain = leaf.detach().float() if "float" in got.dtype.name else leaf.detach()
        np.testing.assert_array_equal(got.astype(plain.numpy().dtype), plain.numpy())
    assert np.shares_memory(found["state"]["whole"], found["state"]["part"])
    monkeypatch.setitem(sys.modules, "torch", None)
    assert set(torch_file.read(tmp_path / "a.pth")) == {"state"}


@pytest.mark.parity
def test_other_formats_of_torch_are_refused(tmp_path):
    torch = pytest.importorskip("torch")
    path = tmp_path / "a.pth"
    torch.save({"a": torch.ones(2)}, path, _use_new_zipfile_serialization=False)
    with pytest.raises(InputError, match=r"one from before PyTorch 1\.6"):
        torch_zip.read(path)
    for value in (torch.ones(2, dtype=torch.cfloat).conj(), torch.eye(2).to_sparse()):
        torch.save({"a": value}, path)
        with pytest.raises(InputError, match=r"conjugated|_rebuild_sparse_tensor"):
            torch_zip.read(path)
