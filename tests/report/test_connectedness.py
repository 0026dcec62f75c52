"""Effective density in reports."""

import math

import numpy as np
import pandas as pd
import pytest
from finished_runs import make_dense, make_run
from scipy import stats

from jaxmask.report import connectedness, grid


def runs_of(accuracy, density, effective, **changes):
    table = {"method": "snip", "schedule": "USS", "dataset": "digits", "network": "lenet",
             "accuracy": accuracy, "density": density, "effective_density": effective}  # fmt: skip
    return pd.DataFrame({**table, **changes})


def test_what_explains_accuracy_is_told_with_its_uncertainty():
    random = np.random.default_rng(3)
    effective = random.random(40)
    density = effective + random.normal(size=40)
    accuracy = np.tanh(3 * effective)  # any rising function: ranks are equal
    (row,) = connectedness.correlations(runs_of(accuracy, density, effective)).to_dict("records")
    assert row["runs"] == 40
    assert row["effective_density"] == pytest.approx(1)
    wanted = stats.spearmanr(accuracy, density).statistic
    assert row["density"] == pytest.approx(wanted)
    assert row["difference"] == pytest.approx(1 - wanted)
    interval = stats.bootstrap(
        (accuracy, density), lambda x, y: stats.spearmanr(x, y).statistic, paired=True,
        vectorized=False, n_resamples=999, method="percentile", rng=np.random.default_rng(1),
    ).confidence_interval  # fmt: skip
    assert row["density_low"] == pytest.approx(interval.low, abs=0.06)
    assert row["density_high"] == pytest.approx(interval.high, abs=0.06)
    assert row["density_low"] < wanted < row["density_high"] < row["effective_density_low"]


def test_runs_of_other_networks_too_few_runs_and_dense_ones_are_apart():
    rising = np.linspace(0.1, 0.9, 8)
    both = pd.concat([
        runs_of(rising, rising, rising[::-1]),
        runs_of(rising, 0.5, rising, network="vgg11"),
        runs_of(rising[:7], rising[:7], rising[:7], network="resnet20"),
        runs_of([0.99], [1.0], [1.0], method="dense", network="resnet20"),
        runs_of([None], [0.1], [0.1], network="resnet20"),
    ])  # fmt: skip
    found = connectedness.correlations(both).set_index("network")
    assert list(found.index) == ["lenet", "vgg11"]
    assert found["density"]["lenet"] == pytest.approx(1)
    assert found["effective_density"]["lenet"] == pytest.approx(-1)
    assert math.isnan(found["density"]["vgg11"])  # it does not vary
    assert found["effective_density"]["vgg11"] == pytest.approx(1)
    assert connectedness.correlations(both.iloc[:0]).empty


def test_a_report_has_both_tables_and_the_columns(tmp_path):
    for seed in range(3):
        make_dense(tmp_path / "runs" / f"dense-{seed}", 0.98, seed)
        for target in (0.5, 0.1, 0.02):
            make_run(tmp_path / "runs" / f"{target}-{seed}", 0.5 + target, target=target, seed=seed,
                     files=False, effective_density=target / 2,
                     effective_density_by_leaf={"fc1/kernel": target})  # fmt: skip
    made = grid.make([tmp_path / "runs"])
    grid.save(made, tmp_path / "out")
    results = pd.read_csv(tmp_path / "out" / "results.csv")
    assert sorted(results["effective_density"].dropna().unique()) == [0.01, 0.05, 0.25]
    text = (tmp_path / "out" / "table.md").read_text()
    assert "| snip USS | 0.25 ± 0 | 0.05 ± 0 | 0.01 ± 0 |" in text
    assert "effective density by target density: mean" in text
    assert "| digits | lenet | 9 |" in text
    assert "1.00 [1.00, 1.00]" in text
    once = grid.tables(grid.make([tmp_path / "runs"], metric="effective_density"))
    assert sum("effective density by" in caption for _, caption, _ in once) == 1


def test_runs_without_effective_densities_have_no_such_table(tmp_path):
    for seed in range(9):
        make_run(tmp_path / str(seed), 0.9, seed=seed, files=False,
                 effective_density=None)  # fmt: skip
    made = grid.tables(grid.make([tmp_path]))
    assert not any("effective density" in caption for _, caption, _ in made)
