import numpy as np
import pytest
from safetensors.numpy import save_file

from jaxmask.errors import InputError
from jaxmask.model import weights


def test_weights_come_back_bit_for_bit_with_what_they_are_about(tmp_path):
    variables = {
        "params": {"head": {"kernel": np.random.rand(3, 2), "hole": None}},
        "batch_stats": {"bn": {"mean": np.zeros(2, np.float32)}},
    }
    path = tmp_path / "weights.safetensors"
    size = weights.save(path, variables, {"network": "x", "mean": [0.5]})
    assert size == path.stat().st_size
    for source in (path, tmp_path):
        found, about = weights.load(source)
        assert about == {"network": "x", "mean": [0.5]}
        np.testing.assert_array_equal(
            found["params"]["head"]["kernel"], variables["params"]["head"]["kernel"]
        )
        assert found["batch_stats"]["bn"]["mean"].dtype == np.float32
        assert "hole" not in found["params"]["head"]


@pytest.mark.parametrize("content", [b"", b"nonsense", b"\xff" * 100])
def test_a_file_that_holds_no_weights_is_refused(tmp_path, content):
    path = tmp_path / "weights.safetensors"
    path.write_bytes(content)
    with pytest.raises(InputError, match="not a safetensors file"):
        weights.load(path)


@pytest.mark.parametrize("leaf", [np.float32(2), np.ones((2, 3), np.float32).T, np.ones((0, 2))])
def test_any_shape_and_order_comes_back(leaf, tmp_path):
    """NumPy's `ascontiguousarray` makes a vector of a number; the format ignores strides."""
    weights.save(tmp_path / "weights.safetensors", {"params": {"a": {"scale": leaf}}}, {})
    found = weights.load(tmp_path)[0]["params"]["a"]["scale"]
    assert found.shape == leaf.shape
    np.testing.assert_array_equal(found, leaf)


def test_metadata_nested_too_deeply_are_refused(tmp_path):
    path = tmp_path / "weights.safetensors"
    save_file({"params/a": np.ones(1)}, path, {"mean": "[" * 100_000})
    with pytest.raises(InputError, match="not a safetensors file"):
        weights.load(path)


def test_truncated_weights_are_refused(tmp_path):
    path = tmp_path / "weights.safetensors"
    weights.save(path, {"params": {"a": np.ones(100)}}, {})
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(InputError, match="not a safetensors file"):
        weights.load(path)


def test_missing_weights_are_refused(tmp_path):
    with pytest.raises(InputError, match="there are no weights at"):
        weights.load(tmp_path / "nowhere")


def test_a_negative_variance_is_refused(tmp_path):
    variables = {"params": {"head": {"bias": -np.ones(2)}},
                 "batch_stats": {"layer1_0": {"bn2": {"var": np.array([0.5, -0.5])}}}}  # fmt: skip
    weights.save(tmp_path / "weights.safetensors", variables, {})
    told = "weights.safetensors: the variance 'batch_stats/layer1_0/bn2/var' is negative"
    with pytest.raises(InputError, match=told):
        weights.load(tmp_path)
