import json

import numpy as np
import pytest

from jaxmask.errors import InputError
from jaxmask.run import defaults, directory as run_directory


def test_a_run_is_finished_when_its_result_is_there(tmp_path):
    config = defaults.dense("digits", 1)
    folder = tmp_path / "run"
    assert run_directory.begin(folder, config) is None
    assert json.loads((folder / "config.json").read_text())["train"]["epochs"] == 1
    assert run_directory.begin(folder, config) is None
    run_directory.finish(
        folder, {"accuracy": 0.5, "dataset": "x", "method": "dense", "seconds": 1.0}
    )
    result = run_directory.begin(folder, config)
    assert result["accuracy"] == 0.5
    assert "jax" in result["versions"]


def test_a_directory_of_another_config_is_refused_and_the_field_named(tmp_path):
    config = defaults.dense("digits", 1)
    run_directory.begin(tmp_path, config)
    config.train.epochs = 2
    with pytest.raises(InputError, match=r"train\.epochs: 1 there, 2 asked for"):
        run_directory.begin(tmp_path, config)


def test_a_torn_config_is_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"seed"')
    with pytest.raises(InputError, match="not valid JSON"):
        run_directory.begin(tmp_path, defaults.dense("digits", 1))


def test_weights_come_back_bit_for_bit_with_what_they_are_about(tmp_path):
    weights = {
        "params": {"head": {"kernel": np.random.rand(3, 2), "hole": None}},
        "batch_stats": {"bn": {"mean": np.zeros(2, np.float32)}},
    }
    path = tmp_path / "weights.safetensors"
    size = run_directory.save_weights(path, weights, {"network": "x", "mean": [0.5]})
    assert size == path.stat().st_size
    for source in (path, tmp_path):
        found, about = run_directory.load_weights(source)
        assert about == {"network": "x", "mean": [0.5]}
        np.testing.assert_array_equal(
            found["params"]["head"]["kernel"], weights["params"]["head"]["kernel"]
        )
        assert found["batch_stats"]["bn"]["mean"].dtype == np.float32
        assert "hole" not in found["params"]["head"]


@pytest.mark.parametrize("content", [b"", b"nonsense", b"\xff" * 100])
def test_a_file_that_holds_no_weights_is_refused(tmp_path, content):
    path = tmp_path / "weights.safetensors"
    path.write_bytes(content)
    with pytest.raises(InputError, match="no safetensors file"):
        run_directory.load_weights(path)


def test_truncated_weights_are_refused(tmp_path):
    path = tmp_path / "weights.safetensors"
    run_directory.save_weights(path, {"params": {"a": np.ones(100)}}, {})
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(InputError, match="no safetensors file"):
        run_directory.load_weights(path)


def test_missing_weights_are_refused(tmp_path):
    with pytest.raises(InputError, match="there are no weights at"):
        run_directory.load_weights(tmp_path / "nowhere")
