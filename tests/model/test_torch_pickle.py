"""PyTorch's files without PyTorch: equal arrays, and nothing but arrays, in both formats."""

import sys

import numpy as np
import pytest
from torch_bytes import BEYOND, HOSTILE, NUMBERS, body, legacy, state, tensor, zipped

from jaxmask.errors import InputError
from jaxmask.model import torch_file, torch_legacy, torch_pickle, torch_zip

FILES = {"zip": zipped, "legacy": legacy}
pytestmark = pytest.mark.parametrize("form", FILES)


def read(path):
    return (torch_zip if torch_zip.begins(path) else torch_legacy).read(path)


def test_tensors_are_views_of_their_storages(form, tmp_path):
    views = tensor(), tensor((3, 2), (1, 3)), tensor((2,), (2,), 1)
    found = read(FILES[form](tmp_path, state(*views)))
    np.testing.assert_array_equal(found["a"], NUMBERS.reshape(2, 3))
    np.testing.assert_array_equal(found["b"], NUMBERS.reshape(2, 3).T)
    np.testing.assert_array_equal(found["c"], [1, 3])
    assert np.shares_memory(found["a"], found["b"])
    assert not found["a"].flags.writeable


def test_extents_may_end_where_the_storage_does(form, tmp_path):
    views = tensor((1,), (9,), 5), tensor((0, 7), (7, 1), 99), tensor((4, 2), (0, 5))
    found = read(FILES[form](tmp_path, state(*views)))
    assert (found["a"].tolist(), found["b"].shape) == ([5.0], (0, 7))
    np.testing.assert_array_equal(found["c"], np.tile([0.0, 5.0], (4, 1)))


@pytest.mark.parametrize("beyond", BEYOND)
def test_a_tensor_that_its_storage_does_not_hold_is_refused(beyond, form, tmp_path):
    with pytest.raises(InputError, match=r"a.pth is not a complete PyTorch file") as caught:
        read(FILES[form](tmp_path, state(beyond)))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("which", HOSTILE)
def test_pickles_that_do_more_than_tensors_are_refused(which, form, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as caught:
        read(FILES[form](tmp_path, HOSTILE[which]))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "ran").exists()


def test_what_a_pickle_sets_stays_with_its_file(form, tmp_path):
    """A note of versions, as state dicts have it; and attributes of what builds tensors."""
    noted = b"ccollections\nOrderedDict\n)R" + body({"_metadata": 1, "items": 2}) + b"b"
    marked = b"ctorch._utils\n_rebuild_tensor_v2\n" + body({"mark": 1}) + b"b"
    items = body("a") + tensor() + body("b") + marked
    content = b"\x80\x02" + noted + b"(" + items + b"u."
    for _ in range(2):
        found = read(FILES[form](tmp_path, content))
        assert [name for name, _ in found.items()] == ["a", "b"]
        assert not hasattr(torch_pickle._tensor, "mark")


DTYPES = (
    "float64 float32 float16 bfloat16 int64 int32 int16 int8 uint8 bool complex64 complex128 "
    "uint16 uint32 uint64 float8_e4m3fn float8_e5m2 float8_e4m3fnuz float8_e5m2fnuz"
)


@pytest.mark.parity
def test_arrays_equal_torch(form, tmp_path, monkeypatch):
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
    path = tmp_path / "a.pth"
    # state_dict() notes versions, in an attribute of its own
    expected = {"state": content, "more": [layer.state_dict()], "epoch": 3}
    torch.save(expected, path, _use_new_zipfile_serialization=form == "zip")
    found = read(path)
    assert (found["epoch"], list(found["more"][0])) == (3, list(expected["more"][0]))
    for name, leaf in {**expected["state"], **expected["more"][0]}.items():
        got = {**found["state"], **found["more"][0]}[name]
        assert (got.dtype.name, got.shape) == (str(leaf.dtype)[6:], tuple(leaf.shape))
        plain = leaf.detach().float() if "float" in got.dtype.name else leaf.detach()
        np.testing.assert_array_equal(got.astype(plain.numpy().dtype), plain.numpy())
    assert np.shares_memory(found["state"]["whole"], found["state"]["part"])
    monkeypatch.setitem(sys.modules, "torch", None)
    assert set(torch_file.read(path)) == {"state"}


@pytest.mark.parity
def test_other_tensors_of_torch_are_refused(form, tmp_path):
    torch = pytest.importorskip("torch")
    path = tmp_path / "a.pth"
    for value in (torch.ones(2, dtype=torch.cfloat).conj(), torch.eye(2).to_sparse()):
        torch.save({"a": value}, path, _use_new_zipfile_serialization=form == "zip")
        with pytest.raises(InputError, match=r"conjugated|_rebuild_sparse_tensor"):
            read(path)
