import json

import pytest

from jaxmask.errors import InputError
from jaxmask.run import defaults, directory, result
from jaxmask.run.result import Result


def test_a_run_is_finished_when_its_result_is_there(tmp_path):
    config = defaults.dense("digits", 1)
    folder = tmp_path / "run"
    assert directory.begin(folder, config) is None
    assert json.loads((folder / "config.json").read_text())["train"]["epochs"] == 1
    assert directory.begin(folder, config) is None
    found = Result("dense", "dense", "x", 0, 0.5, None, 10, 3, 1.0, more={"epoch": 2})
    result.write(folder, found)
    again = directory.begin(folder, config)
    assert again._replace(more={"epoch": 2}) == found
    assert "jax" in again.more["versions"]


def test_a_directory_of_another_config_is_refused_naming_the_field(tmp_path):
    config = defaults.dense("digits", 1)
    directory.begin(tmp_path, config)
    config.train.epochs = 2
    with pytest.raises(InputError, match=r"train\.epochs: 1 there, 2 asked for"):
        directory.begin(tmp_path, config)


def test_a_torn_config_is_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"seed"')
    with pytest.raises(InputError, match="not a valid JSON"):
        directory.begin(tmp_path, defaults.dense("digits", 1))


def test_a_directory_of_an_earlier_version_is_refused_in_one_line(tmp_path):
    config = defaults.dense("digits", 1)
    earlier = config.to_json().replace("optimizer", "optimiser")
    (tmp_path / "config.json").write_text(earlier)
    with pytest.raises(InputError, match="earlier version of jaxmask") as error:
        directory.begin(tmp_path, config)
    assert "\n" not in str(error.value)
