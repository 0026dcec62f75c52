"""Preparing a TFDS dataset: all but the download, for which a stand-in of its builder is given."""

import sys
from types import SimpleNamespace

import pytest

from jaxmask.data import load, prepared, preparing
from jaxmask.errors import InputError


@pytest.fixture
def tfds(monkeypatch, tmp_path, tiny):
    """Records what `tfds.builder` is asked; `prepares` is called for the download."""
    import tensorflow_datasets

    stand_in = SimpleNamespace(asked=[], prepares=lambda folder: None)
    found = SimpleNamespace()

    def builder(name, **options):
        stand_in.asked.append((name, options))
        # the features of a dataset of the same kind
        folder = tiny.write(tmp_path / "info", {"train": []}, **stand_in.kind)
        found.info = tensorflow_datasets.builder_from_directory(str(folder)).info
        found.download_and_prepare = lambda: stand_in.prepares(options["data_dir"])
        return found

    stand_in.kind = {}
    monkeypatch.setattr(tensorflow_datasets, "builder", builder)
    return stand_in


def complaint(*args):
    with pytest.raises(InputError) as caught:
        preparing.prepare(*args)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_it_is_written_in_the_format_that_is_read(tfds, tmp_path, tiny, mnist):
    folder = tmp_path / "new"
    parts = {split: tiny.records(*arrays) for split, arrays in mnist[1].items()}
    tfds.prepares = lambda data_dir: tiny.write(folder, parts)
    assert preparing.prepare("mnist", folder) == folder / "mnist" / "3.0.1"
    assert tfds.asked == [("mnist", {"data_dir": str(folder), "file_format": "array_record"})]
    found = load("mnist", data_dir=folder, cache_dir=tmp_path / "cache", progress=False)
    assert len(found.test.labels) == 10
    assert preparing.prepare("mnist", folder) == folder / "mnist" / "3.0.1"
    assert len(tfds.asked) == 1  # it was there


def test_another_format_is_converted_without_a_download(tfds, tmp_path, tiny, monkeypatch):
    folder = tiny.write(tmp_path, {"train": []}, file_format="tfrecord")
    asked = []

    def convert(**options):
        asked.append(options)
        tiny.write(tmp_path, {"train": []}, file_format="tfrecord", alternatives=["array_record"])

    message = complaint("mnist", tmp_path)  # the tests have no TensorFlow
    assert message.startswith("tensorflow is not installed")
    stand_in = SimpleNamespace(convert_dataset=convert)
    name = "tensorflow_datasets.scripts.cli.convert_format_utils"
    monkeypatch.setitem(sys.modules, name, stand_in)
    assert preparing.prepare("mnist", tmp_path) == folder
    assert asked == [
        {"out_dir": None, "out_file_format": "array_record", "dataset_version_dir": [str(folder)]}
    ]
    assert tfds.asked == []


def test_refusals_in_one_line(tfds, tmp_path, monkeypatch):
    assert "did you mean 'kmnist'" in complaint("kmnits", tmp_path)
    assert "name[/config][:version]" in complaint("../mnist", tmp_path)
    assert tfds.asked == []

    def manual(_):
        raise AssertionError("Manual directory /x does not exist.\nDownload the files into it.")

    tfds.prepares = manual
    assert complaint("imagenet2012", tmp_path).endswith("exist. Download the files into it.")

    def without(_):
        raise ModuleNotFoundError("No module named 'tensorflow'", name="tensorflow")

    tfds.prepares = without
    message = complaint("mnist", tmp_path)
    assert message.startswith("tensorflow is not installed")
    assert message.endswith(prepared.prepare_command("mnist", tmp_path))
    tfds.kind, tfds.prepares = {"dtype": "uint16"}, None
    assert "uint16 images" in complaint("mnist", tmp_path)  # before its download
