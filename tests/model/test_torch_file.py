"""What PyTorch files hold, and numbers that are not weights."""

import argparse
import collections
import errno
import pathlib
import resource

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from jaxmask.errors import InputError
from jaxmask.model import torch_file


def test_a_safetensors_file_is_one_dict(tmp_path):
    save_file({"a.b": np.ones(2, np.float32)}, tmp_path / "a.safetensors")
    ((place, state),) = torch_file.read(tmp_path / "a.safetensors").items()
    assert place == ""
    np.testing.assert_array_equal(torch_file.array(state["a.b"], "a.b"), [1, 1])


@pytest.mark.parametrize("dtype", [np.complex64, np.complex128, np.int8, np.uint8, bool])
def test_only_real_floating_point_numbers_are_weights(dtype):
    state = {"a": np.ones(2, np.float16), "b.weight": np.ones(2).astype(dtype)}
    with pytest.raises(InputError, match=rf"b.weight in f is of {np.dtype(dtype)}, not of real"):
        torch_file.check_real(state, "f")


@pytest.mark.parametrize("dtype", [np.float64, np.float16, ml_dtypes.bfloat16])
def test_other_precisions_are_weights(dtype):
    torch_file.check_real({"a": np.ones(2).astype(dtype)}, "f")


def test_texts_go_into_the_header(tmp_path):
    from safetensors import safe_open

    path = tmp_path / "a.safetensors"
    torch_file.save(path, {"a": np.ones(2)}, {"mean": "[0.5]"})
    with safe_open(path, "numpy") as file:
        assert file.metadata() == {"format": "pt", "mean": "[0.5]"}


@pytest.mark.parity
def test_dicts_of_tensors_are_found_wherever_they_are(tmp_path):
    torch = pytest.importorskip("torch")
    optimizer = {"state": {0: {"exp_avg": torch.ones(2)}}, "param_groups": [{"lr": 0.1}]}
    content = {
        "state_dict": collections.OrderedDict(a=torch.ones(2), half=torch.ones(3).bfloat16()),
        "nested": {"deeper": {"b": torch.ones(1), "note": "text"}},
        "optimizer": optimizer,
        "best": np.float64(0.5),
        "counts": np.int64(3),
        "args": argparse.Namespace(lr=0.1),
        "folder": pathlib.PurePosixPath("x").name,
        "many": collections.defaultdict(dict),
    }
    torch.save(content, tmp_path / "a.pth")
    found = torch_file.read(tmp_path / "a.pth")
    assert {place: list(state) for place, state in found.items()} == {
        "state_dict": ["a", "half"],
        "nested.deeper": ["b"],
        "optimizer.state.0": ["exp_avg"],
    }
    half = torch_file.array(found["state_dict"]["half"], "half")
    assert half.dtype == np.float32


class Settings:
    """A class of somebody's training script."""


@pytest.mark.parity
def test_what_a_file_holds_besides_weights_is_named(tmp_path):
    torch = pytest.importorskip("torch")
    torch.save({"w": torch.ones(2), "hyper_parameters": Settings()}, tmp_path / "a.ckpt")
    with pytest.raises(InputError, match=r"\(it holds a \S*Settings\); save the") as caught:
        torch_file.read(tmp_path / "a.ckpt")
    assert "\n" not in str(caught.value)


@pytest.mark.parity
@pytest.mark.parametrize("number", ["complex64", "int8"])
def test_tensors_of_other_numbers_stay_what_they_are(number):
    torch = pytest.importorskip("torch")
    tensor = torch.ones(2).to(getattr(torch, number))
    assert torch_file.array(tensor, "a").dtype == np.dtype(number)


@pytest.mark.parametrize("name", ["a.safetensors", pytest.param("a.pth", marks=pytest.mark.parity)])
def test_what_the_disk_refuses_is_an_error_of_the_system(name, tmp_path):
    """Here as a limit of the size of files, which needs no full disk."""
    if name.endswith(".pth"):
        pytest.importorskip("torch")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, before[1]))
    try:
        with pytest.raises(OSError) as refused:  # noqa: PT011 - its number is checked
            torch_file.save(tmp_path / name, {"w": np.ones(5000, np.float32)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert refused.value.errno == errno.EFBIG
    assert list(tmp_path.iterdir()) == []
