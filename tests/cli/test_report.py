"""The command that reports on finished runs: what it prints and writes, and how it refuses."""

import pandas as pd
import pytest
from finished_runs import make_grid, make_run

from jaxmask.cli.report import main


@pytest.fixture
def grid(tmp_path):
    return make_grid(tmp_path / "grid")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["nowhere"], "nowhere does not exist"),
        (["empty"], "no finished run"),
        (["grid", "--baseline=snip"], "known: 'dense', 'grasp(temperature=200.0) USS', "),
        (["grid", "--metric=loss"], "no metric 'loss'"),
        (["grid", "--density=0.3"], "no pruned run has target density 0.3"),
        (["grid", "--published=no.csv"], "no.csv does not exist"),
        (["grid", "--published-row=a=b"], "--published-row needs --published"),
        (["grid", "--density=x"], "invalid float value: 'x'; see --help"),
        (["grid", "--bseline=snip USS"], "unknown argument --bseline; see --help"),
        ([], "RUNS; see --help"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line_and_nothing_is_written(
    grid, tmp_path, monkeypatch, capsys, arguments, reason
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    assert main([*arguments, "--out=out"]) == 2
    said = capsys.readouterr()
    assert reason in said.err
    assert said.err.startswith("jaxmask: ")
    assert said.err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_help_is_not_an_error(capsys):
    assert main(["--help"]) == 0
    assert "--baseline" in capsys.readouterr().out


def test_the_printed_table_is_the_written_one(tmp_path, capsys):
    for seed, accuracy in enumerate((0.9, 0.92)):
        make_run(tmp_path / "runs" / str(seed), accuracy, seed=seed, files=False, chosen_step=None)
    assert main([str(tmp_path / "runs"), f"--out={tmp_path / 'out'}"]) == 0
    shown = capsys.readouterr().out
    assert "91.00 ± 1.41" in shown
    assert shown.endswith(f"2 runs; tables and figures: {tmp_path / 'out'}\n")
    assert "| snip USS | 91.00 ± 1.41 |" in (tmp_path / "out" / "table.md").read_text()
    assert pd.read_csv(tmp_path / "out" / "results.csv")["accuracy"].tolist() == [0.9, 0.92]
    assert pd.read_csv(tmp_path / "out" / "summary.csv")["count"].tolist() == [2]


def test_published_rows_are_repeated_arguments(tmp_path, capsys):
    for method, accuracy in (("snip", 0.9), ("grasp", 0.8)):
        make_run(tmp_path / "runs" / method, accuracy, method, files=False, chosen_step=None)
    (tmp_path / "them.csv").write_text("algorithm,0.5\nA,11\nB,22\n")
    given = [str(tmp_path / "runs"), f"--out={tmp_path / 'out'}"]
    assert main([*given, f"--published={tmp_path / 'them.csv'}", "--published-row=A=snip USS",
                 "--published-row=B=grasp USS"]) == 0  # fmt: skip
    shown = capsys.readouterr().out
    assert "90.00 (11)" in shown
    assert "80.00 (22)" in shown
