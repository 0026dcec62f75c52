import json

import pandas as pd
import pytest
from finished_runs import make_run

from jaxmask.errors import InputError
from jaxmask.report.collect import collect, write_table


def test_a_tree_gives_one_row_a_run_and_no_row_for_its_parts(grid, capsys):
    lottery = make_run(grid / "deep" / "lottery", 0.9, recipe="lottery", schedule="IMS",
                       runs=["round-0"])  # fmt: skip
    make_run(lottery / "round-0", 0.1)
    (grid / "cut" / "rounds").mkdir(parents=True)
    (grid / "cut" / "config.json").write_text("{}")
    make_run(grid / "cut" / "rounds" / "0", 0.1)
    frame = collect([grid])
    assert len(frame) == 16
    assert not frame["folder"].str.contains("round").any()
    assert "1 unfinished run is left out: " + str(grid / "cut") in capsys.readouterr().err
    assert len(collect([grid, grid / "deep", lottery])) == 16
    assert len(collect([grid, lottery / "round-0"])) == 17


def test_only_config_fields_that_differ_and_say_something_new_have_a_column(tmp_path):
    for seed, rate in ((0, 0.1), (1, 0.2)):
        make_run(tmp_path / str(seed), 0.9, seed=seed, files=False, config={
            "train": {"epochs": 4, "learning_rate": rate}, "data": {"sizes": [seed, 1]},
            "own": seed})  # fmt: skip
    frame = collect([tmp_path])
    assert [name for name in frame if name.startswith("config.")] == [
        "config.data.sizes", "config.train.learning_rate"
    ]  # fmt: skip
    assert list(frame["config.train.learning_rate"]) == [0.1, 0.2]
    assert list(frame["config.data.sizes"]) == ["[0, 1]", "[1, 1]"]
    told = [json.loads((tmp_path / f"{seed}/result.json").read_text()) for seed in (0, 1)]
    assert list(frame["initial_sha256"]) == [each["initial"]["sha256"] for each in told]
    assert frame["initial_sha256"].nunique() == 2
    assert "versions" not in frame
    assert "runs" not in frame


def test_runs_that_lack_fields_have_missing_values(tmp_path):
    make_run(tmp_path / "a", None, empty_leaves=["fc1/kernel"])
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "result.json").write_text('{"accuracy": 0.5, "recipe": "adapt"}')
    frame = collect([tmp_path])
    assert frame["accuracy"].tolist()[1] == 0.5
    assert pd.isna(frame["accuracy"][0])
    assert frame["empty_leaves"][0] == 1
    assert pd.isna(frame["target_density"][1])
    assert frame["stopped_early"][0]


def test_a_table_is_read_back_as_it_was_written(grid, tmp_path):
    make_run(grid / "x", 0.5, schedule="UMS", extra="text")
    make_run(grid / "y", 0.5, schedule="IMS", extra=3, seed=2**70)
    frame = collect([grid])
    write_table(frame, tmp_path / "t.parquet")
    write_table(frame, tmp_path / "t.csv")
    back = pd.read_parquet(tmp_path / "t.parquet")
    assert list(back.columns) == list(frame.columns)
    assert back["accuracy"].tolist() == frame["accuracy"].tolist()
    assert set(back["extra"].dropna()) == {"text", "3"}
    assert pd.read_csv(tmp_path / "t.csv")["accuracy"].tolist() == frame["accuracy"].tolist()
    with pytest.raises(InputError, match=r"\.csv or \.parquet"):
        write_table(frame, tmp_path / "t.xlsx")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[1]", "not a valid JSON object"),
        ("{}", "has no 'accuracy'"),
        ("{", "not a valid JSON object"),
    ],
)
def test_an_invalid_result_is_named(tmp_path, text, reason):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "result.json").write_text(text)
    with pytest.raises(InputError, match=f"run/result.json.*{reason}"):
        collect([tmp_path])


def test_a_damaged_config_is_named(tmp_path):
    make_run(tmp_path / "run", 0.5)
    (tmp_path / "run" / "config.json").write_bytes(b"\xff")
    with pytest.raises(InputError, match=r"run/config\.json is not a valid JSON object"):
        collect([tmp_path])
    (tmp_path / "run" / "config.json").write_text(json.dumps([1]))
    with pytest.raises(InputError, match=r"run/config\.json is not a valid JSON object"):
        collect([tmp_path])


def test_folders_without_runs_are_named(tmp_path):
    with pytest.raises(InputError, match=r"no finished run .* in .*; finish"):
        collect([tmp_path])
    with pytest.raises(InputError, match=r"nowhere does not exist"):
        collect([tmp_path / "nowhere"])
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"file is not a folder"):
        collect([tmp_path / "file"])
