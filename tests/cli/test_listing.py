"""`jaxmask list`: what there is, by the names that commands and configs take."""

import json
import re

import pytest

from jaxmask import adapter, model, score
from jaxmask.cli import config as configs
from jaxmask.cli.listing import LISTS, main


def listed(capsys, what):
    assert main([what]) == 0
    told = capsys.readouterr()
    assert told.err == ""
    rows, _, more = told.out.rstrip().rpartition("\n\n")
    assert more
    whole = re.sub(r" *\n +", " ", rows)  # a long line goes on in its column
    return {row.split()[0]: row.partition("  ")[2].strip() for row in whole.splitlines()}


@pytest.mark.parametrize(
    ("what", "names"),
    [
        ("configs", configs.names()),
        ("networks", model.registry.names()),
        ("criteria", [*score.SCORERS, "stack", "as_weights", "learned"]),
        ("adapters", [*adapter.EVALUATORS, *adapter.METHODS]),
    ],
)
def test_everything_is_listed_with_a_line(what, names, capsys):
    found = listed(capsys, what)
    assert sorted(found) == sorted(names)
    assert all(found.values())


def test_modes_are_listed(capsys):
    assert "Modes: supermask, dense." in listed(capsys, "configs")["mnist"]


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Folders of TFDS and of caches."""
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    monkeypatch.setenv("JAXMASK_CACHE", str(tmp_path / "cache"))
    for name, kind in (("flowers/1.0.0", "array_record"), ("birds/rare/2.0.0", "tfrecord")):
        folder = tmp_path / "tfds" / name
        folder.mkdir(parents=True)
        info = {"splits": [{"name": "train"}, {"name": "test"}], "fileFormat": kind}
        (folder / "dataset_info.json").write_text(json.dumps(info))
    (tmp_path / "tfds" / "cats" / "1.0.0").mkdir(parents=True)
    (tmp_path / "tfds" / "cats" / "1.0.0" / "dataset_info.json").write_text("{")
    (tmp_path / "cache" / "hub").mkdir(parents=True)
    (tmp_path / "cache" / "hub" / "me--dogs.json").write_text('{"dataset": "hf:me/dogs"}')
    (tmp_path / "cache" / "hub" / "broken.json").write_text("[")
    return tmp_path


def test_datasets_of_this_machine_are_listed(machine, capsys):
    found = listed(capsys, "datasets")
    assert list(found) == ["digits", "birds/rare", "cats", "flowers", "hf:me/dogs"]
    assert f"{machine / 'tfds'}" in found["flowers"]
    assert "converted" in found["birds/rare"]
    assert "damaged" in found["cats"]


def test_a_machine_without_datasets_has_the_digits(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "none"))
    monkeypatch.setenv("JAXMASK_CACHE", str(tmp_path / "none"))
    assert list(listed(capsys, "datasets")) == ["digits"]


def test_the_lists_are_named_where_none_is_given(capsys):
    assert main([]) == 2
    assert "configs|networks|criteria|adapters|datasets" in capsys.readouterr().err


def test_another_list_is_refused(capsys):
    assert main(["masks"]) == 2
    error = capsys.readouterr().err
    assert all(name in error for name in LISTS)
    assert error.count("\n") == 1
