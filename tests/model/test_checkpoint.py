import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from jaxmask.errors import InputError
from jaxmask.model import checkpoint


def test_find_a_file_or_a_folder(tmp_path):
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"")
    other = tmp_path / "pytorch_model.bin"
    other.write_bytes(b"")
    assert checkpoint.find(file) == file
    assert checkpoint.find(str(other)) == other
    assert checkpoint.find(tmp_path) == file
    file.unlink()
    assert checkpoint.find(tmp_path) == other


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("nothing.safetensors", "there are no weights at .*nothing.safetensors; give"),
        ("empty", "holds no model.safetensors and no pytorch_model.bin"),
        ("notes.txt", "is not a .safetensors, .pth, .pt, .ckpt or .bin file"),
    ],
)
def test_nothing_to_find(source, message, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(InputError, match=message):
        checkpoint.find(tmp_path / source)


def test_read_safetensors(tmp_path):
    save_file({"a": np.arange(6, dtype=np.float16).reshape(2, 3)}, tmp_path / "a.safetensors")
    found = checkpoint.read_safetensors(tmp_path / "a.safetensors")
    np.testing.assert_array_equal(found["a"], [[0, 1, 2], [3, 4, 5]])
    assert checkpoint.safetensors_names(tmp_path / "a.safetensors") == ["a"]
    whole = (tmp_path / "a.safetensors").read_bytes()
    for content in (whole[:-1], whole[:20], b"", b"\xff" * 100):
        (tmp_path / "b.safetensors").write_bytes(content)
        with pytest.raises(InputError, match="is not a complete safetensors file"):
            checkpoint.read_safetensors(tmp_path / "b.safetensors")
        assert checkpoint.safetensors_names(tmp_path / "b.safetensors") == []


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, None),
        ({"config.json": {"architecture": "x"}}, None),
        ({"config.json": {"pretrained_cfg": {"mean": [1, 2, 3], "std": [4, 5, 6]}}}, (1, 4)),
        ({"config.json": {"mean": [1, 2, 3], "std": [4, 5, 6]}}, (1, 4)),
        ({"preprocessor_config.json": {"image_mean": [7, 8, 9], "image_std": [1, 1, 2]}}, (7, 1)),
    ],
)
def test_moments(files, expected, tmp_path):
    for name, content in files.items():
        (tmp_path / name).write_text(json.dumps(content))
    found = checkpoint.moments(tmp_path)
    assert (found and (found[0][0], found[1][0])) == expected


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[1]", "is not a valid JSON object"),
        ("{", "is not a valid JSON object"),
        ('{"mean": [1, 2], "std": [1, 2, 3]}', r"is \[1, 2\], not 3 numbers"),
        ('{"mean": [1, 2, NaN], "std": [1, 2, 3]}', "not 3 numbers"),
        ('{"mean": "abc", "std": [1, 2, 3]}', "not 3 numbers"),
    ],
)
def test_wrong_config(content, message, tmp_path):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(InputError, match=message):
        checkpoint.moments(tmp_path)
