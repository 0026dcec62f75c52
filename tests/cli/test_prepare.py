"""`python -m jaxmask.prepare`: arguments, the result, and failures in one line."""

from pathlib import Path

import pytest

from jaxmask.cli.prepare import main
from jaxmask.data import preparing
from jaxmask.errors import InputError


@pytest.fixture
def asked(monkeypatch):
    """What the command asks for; it is told that all are there but `absent`."""
    asked = []

    def prepare(name, data_dir):
        asked.append((name, data_dir))
        if name == "absent":
            raise InputError("no such dataset")
        return data_dir / name / "1.0.0"

    monkeypatch.setattr(preparing, "prepare", prepare)
    return asked


def test_the_folder_is_given_or_of_the_environment(asked, capsys, monkeypatch, tmp_path):
    monkeypatch.delenv("TFDS_DATA_DIR", raising=False)
    assert main(["mnist"]) == 0
    monkeypatch.setenv("TFDS_DATA_DIR", f"{tmp_path}/one")
    assert main(["cifar10/plain:1.0.0"]) == 0
    capsys.readouterr()
    assert main(["mnist", f"--directory={tmp_path}/two"]) == 0
    assert capsys.readouterr() == (f"mnist is in {tmp_path}/two/mnist/1.0.0\n", "")
    assert asked == [
        ("mnist", Path.home() / "tensorflow_datasets"),
        ("cifar10/plain:1.0.0", tmp_path / "one"),
        ("mnist", tmp_path / "two"),
    ]


@pytest.mark.parametrize("arguments", [[], ["a", "b"], ["absent"], ["mnist", "--folder=x"]])
def test_failures_in_one_line(asked, capsys, arguments):
    assert main(arguments) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("jaxmask: ")
    assert shown.err.count("\n") == 1
