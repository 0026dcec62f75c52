"""Reports on runs of `learn_scores`: their learners side by side."""

import numpy as np
import pandas as pd
import pytest
from finished_runs import make_run

from jaxmask.errors import InputError
from jaxmask.report.grid import make, save

FOUND = {"linear": (0.25, 0.27), "tree": (0.07, 0.05)}


def learned(folder, seed, scale="values", found=FOUND, learners=("linear", "tree")):
    """A finished run of `learn_scores`: of each learner the share that it found, by seed."""
    told = {
        name: {
            "settings": f"{name}()",
            "train": {"r2": 0.5 + seed, "mse": 1e-4, "rank_correlation": 0.9, "found": 0.99},
            "validation": {"r2": 0.3, "mse": 3e-4, "rank_correlation": 0.6, "found": 0.98},
            "test": {"r2": 0.25 - seed, "mse": 2e-4, "rank_correlation": 0.4, "found": share[seed]},
        }
        for name, share in found.items()
        if name in learners
    }
    return make_run(
        folder, None, method="linear", schedule="", target=0.1, seed=seed, files=False,
        recipe="learn_scores", validation_accuracy=None, learners=told, initial="0" * 64,
        found_by_feature={"synflow": 0.2 + seed / 100},
        config={"scale": scale, "learners": list(learners), "tickets": str(folder)},
    )  # fmt: skip


@pytest.fixture
def runs(tmp_path):
    for seed in (0, 1):
        learned(tmp_path / f"runs/{seed}", seed)
    return tmp_path / "runs"


def test_learners_and_features_alone_have_a_row_each(runs):
    table = make([runs]).learned.table.set_index("learner")
    assert list(table.index) == ["linear", "synflow alone", "tree"]
    assert list(table["found in %"]) == ["26.00 ± 1.41", "20.50 ± 0.71", "6.00 ± 1.41"]
    assert table["R²"]["linear"] == "-0.25 ± 0.707"
    assert table["R² (train)"]["tree"] == "1 ± 0.707"
    assert table["MSE"]["tree"] == "0.0002 ± 0"
    assert table["rank correlation"]["linear"] == "0.4 ± 0"
    assert table["R²"]["synflow alone"] == ""


def test_settings_that_differ_are_named_and_other_learners_beside_one_are_not(runs, tmp_path):
    learned(tmp_path / "runs/ranks", 0, scale="ranks", learners=("linear",))
    table = make([runs]).learned.table.set_index("learner")["found in %"]
    assert table["linear, scale=ranks"] == "25.00"
    assert table["linear, scale=values"] == "26.00 ± 1.41"
    assert not [name for name in table.index if "learners" in name or "tickets" in name]


def test_the_report_has_them_and_only_them(runs, tmp_path):
    save(make([runs]), tmp_path / "out")
    rows = pd.read_csv(tmp_path / "out" / "learners.csv")
    assert len(rows) == 2 * 3
    assert rows["found_validation"].dropna().unique().tolist() == [0.98]
    summary = pd.read_csv(tmp_path / "out" / "summary.csv").set_index("method")
    np.testing.assert_allclose(summary["mean"]["linear"], 0.26)
    text = (tmp_path / "out" / "table.md").read_text()
    assert text.count("| learner |") == 1
    assert "test accuracy" not in text
    assert [path.name for path in (tmp_path / "out" / "figures").iterdir()] == [
        "against_density.png"
    ]


def test_pruned_networks_beside_them_keep_their_tables(runs, tmp_path):
    for seed in (0, 1):
        make_run(tmp_path / f"pruned/{seed}", 0.9, seed=seed, files=False)
    both = make([runs, tmp_path / "pruned"])
    alone = make([tmp_path / "pruned"])
    pd.testing.assert_frame_equal(both.table, alone.table)
    assert set(both.groups["method"]) == {"snip"}
    save(both, tmp_path / "out")
    assert (tmp_path / "out" / "learners.csv").exists()
    save(alone, tmp_path / "out")
    assert not (tmp_path / "out" / "learners.csv").exists()


def test_a_learner_may_be_the_baseline(runs):
    found = make([runs], "synflow alone").groups.set_index("method")
    assert found["difference"]["linear"] == pytest.approx(0.055)
    with pytest.raises(InputError, match="no such learner"):
        make([runs], "no such learner")
