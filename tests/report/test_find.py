"""Where finished runs lie, and what their configs hold."""

import json

import pytest
from finished_runs import make_dense, make_run
from hypothesis import given
from hypothesis import strategies as st

from jaxmask.errors import InputError
from jaxmask.report.find import find, natural, read_config


def test_runs_are_in_natural_order(tmp_path):
    for seed in (10, 9, 2):
        make_dense(tmp_path / f"seed{seed}", 0.9, seed)
    assert [path.name for path in find([tmp_path])[0]] == ["seed2", "seed9", "seed10"]
    assert sorted(["b", "a10/x", "a9", "3"], key=natural) == ["3", "a9", "a10/x", "b"]


@given(st.lists(st.integers(0, 10**6), max_size=8), st.sampled_from(["", "x", "/y.z"]))
def test_numbers_in_names_are_sorted_by_their_size(numbers, end):
    names = [f"seed{number}{end}" for number in numbers]
    assert sorted(names, key=natural) == [f"seed{number}{end}" for number in sorted(numbers)]


def begun(folder, finished=False):
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    if finished:
        (folder / "result.json").write_text("{}")
    return folder


def test_a_run_is_finished_with_its_result_and_its_parts_are_its_own(tmp_path):
    done = begun(tmp_path / "a" / "done", finished=True)
    begun(done / "round-0", finished=True)
    cut = begun(tmp_path / "b")
    begun(cut / "round-0", finished=True)
    begun(tmp_path / ".hidden", finished=True)
    assert find([tmp_path]) == ([done], [cut])
    assert find([cut / "round-0", tmp_path]) == ([cut / "round-0", done], [cut])


def test_no_run_is_found_twice_and_links_within_are_not_followed(tmp_path):
    run = begun(tmp_path / "runs" / "a", finished=True)
    (tmp_path / "runs" / "link").symlink_to(run)
    (tmp_path / "other").symlink_to(run)
    assert find([tmp_path / "runs", run, tmp_path / "other"]) == ([run], [])


def test_what_is_no_folder_is_named(tmp_path):
    (tmp_path / "file").touch()
    for name, words in (("nowhere", "does not exist"), ("file", "is not a folder")):
        with pytest.raises(InputError, match=f"{name} {words}"):
            find([tmp_path / name])


def test_a_config_is_read_one_level_deep(tmp_path):
    assert read_config(tmp_path) == {}
    fields = {"seed": 0, "train": {"epochs": 5, "deep": {"x": None}}, "rules": [["a", "b"]]}
    make_run(tmp_path / "run", 0.5, files=False, config=fields)
    found = read_config(tmp_path / "run")
    assert found["train.epochs"] == 5
    assert found["train.deep.x"] is None
    assert json.loads(found["rules"]) == [["a", "b"]]
    (tmp_path / "run" / "config.json").write_text("[]")
    with pytest.raises(InputError, match="delete the run directory or leave it out"):
        read_config(tmp_path / "run")
