import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from finished_runs import make_dense, make_run
from safetensors.numpy import load_file

from jaxmask import report
from jaxmask.report import weight_figures
from jaxmask.report.__main__ import main
from jaxmask.report.grid import make

PICTURES = {"against_density", "change_against_baseline", "density_by_layer", "mask_overlap",
            "overlap_against_density", "kept_weights", "kept_initial_weights",
            "weights_against_density", "steps"}  # fmt: skip


def pictures(out):
    return {path.stem for path in (out / "figures").iterdir()}


def test_the_command_writes_a_whole_report(grid, tmp_path):
    command = [sys.executable, "-m", "jaxmask.report", "grid", "--out=out", "--baseline=snip USS"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "grasp(temperature=200.0) USS" in done.stdout
    assert "15 runs; tables and figures: out" in done.stdout
    out = tmp_path / "out"
    assert {path.name for path in out.iterdir()} == {
        "results.csv", "results.parquet", "summary.csv", "overlap.csv", "table.md", "figures"
    }  # fmt: skip
    assert pictures(out) == PICTURES
    summary = pd.read_csv(out / "summary.csv")
    assert summary["count"].tolist() == [3] * 5
    assert summary["pairs"].dropna().tolist() == [3, 3]
    assert (summary["welch_p_holm"].dropna() >= summary["welch_p"].dropna()).all()
    assert "98.10 ± 0.10" in (out / "table.md").read_text()
    assert len(pd.read_parquet(out / "results.parquet")) == 15


def test_a_sweep_can_call_it_and_plots_of_earlier_reports_are_removed(grid, tmp_path):
    out = tmp_path / "out"
    table = report.write([grid], out, baseline="snip USS")
    assert table["welch_p"].notna().sum() == 2
    assert pictures(out) == PICTURES
    report.write([grid / "dense-0"], out)
    assert pictures(out) == set()
    assert not (out / "overlap.csv").exists()


def test_runs_without_masks_or_steps_have_fewer_plots(tmp_path):
    for seed in range(2):
        make_run(tmp_path / "runs" / str(seed), 0.9, seed=seed, files=False, chosen_step=None)
    report.write([tmp_path / "runs"], tmp_path / "out")
    assert pictures(tmp_path / "out") == {"against_density", "density_by_layer"}


def test_masks_that_nobody_trained_are_reported_by_density(tmp_path):
    for seed in range(2):
        make_run(tmp_path / str(seed), None, seed=seed, density=0.5, chosen_step=None, files=False)
    found = make([tmp_path])
    assert found.table.values.tolist() == [["snip USS", "0.5 ± 0"]]
    assert found.caption.startswith("density by target density")


def test_kept_weights_are_those_under_the_mask(tmp_path):
    run = make_run(tmp_path / "run", 0.9)
    arrays = load_file(run / "weights.safetensors")
    expected = np.sort(np.concatenate([leaf[leaf != 0] for leaf in arrays.values()]))
    assert np.array_equal(np.sort(weight_figures.kept_weights(run)), expected)


@pytest.mark.parametrize("name", ["masks/ticket.mask", "weights.safetensors"])
def test_a_damaged_file_is_named_and_nothing_is_written(grid, tmp_path, capsys, name):
    (grid / "snip-0.1-0" / name).write_bytes(b"nonsense")
    assert main([str(grid), f"--out={tmp_path / 'out'}"]) == 2
    assert f"snip-0.1-0/{name}" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_report_cannot_be_a_file(grid, tmp_path, capsys):
    (tmp_path / "out").write_text("")
    assert main([str(grid), f"--out={tmp_path / 'out'}"]) == 2
    assert "out is not a folder" in capsys.readouterr().err


def test_repetitions_and_unfinished_runs_are_reported(grid, capsys):
    make_dense(grid / "again", 0.5, 0)
    (grid / "begun").mkdir()
    (grid / "begun" / "config.json").write_text("{}")
    make([grid])
    said = capsys.readouterr().err
    assert "1 unfinished run is left out" in said
    assert "1 of 16 runs repeat another run's setting and seed" in said
