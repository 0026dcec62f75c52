"""Reports on what networks of `self_mask` runs do with few labels."""

import json

import numpy as np
import pandas as pd
import pytest
from finished_runs import make_adapt
from scipy import stats

from jaxmask.cli.report import main
from jaxmask.report import adaptation, collect, few_labels, grid

NETWORKS = ("untouched", "mask")
ROWS = ("mask + linear_probe", "untouched + full", "untouched + linear_probe")


def make_self_mask(folder, seed, shares=(0.1, 0.01), draws=3, loss="swav()", better=0.0, **few):
    """A finished run with accuracies on few labels, which it returns by (share, row)."""
    random = np.random.default_rng([seed, len(loss)])
    make_adapt(folder, dict.fromkeys(NETWORKS, 0.9), seed, config={
        "recipe": "self_mask", "loss": loss, "few_labels.shares": list(shares),
        "few_labels.draws": draws,
    })  # fmt: skip
    for path in (folder, *(folder / name for name in NETWORKS)):
        found = json.loads((path / "result.json").read_text())
        (path / "result.json").write_text(json.dumps({**found, "recipe": "self_mask"}))
    accuracies: dict[tuple[float, str], list[float]] = {}
    for share in shares:
        for draw in range(1, draws + 1):
            for network in NETWORKS:
                methods = ["linear_probe", *(["full"] if network == "untouched" else [])]
                made = {
                    method: 0.5 + share + better * (network == "mask") + 0.1 * random.random()
                    for method in methods
                }
                fields = {
                    "data.share": share, "start": str(folder / network), "data.mean": [seed / 9],
                    "full.train.epochs": round(1 / share), **few,
                }  # fmt: skip
                place = folder / "labels" / str(share) / f"draw{draw}" / network
                make_adapt(place, made, 100 * seed + draw, config=fields)
                for method, value in made.items():
                    accuracies.setdefault((share, f"{network} + {method}"), []).append(value)
    return accuracies


def summary_of(*folders, baseline=None, metric=None):
    found = grid.make(list(folders), baseline, metric=metric)
    return found, found.few and found.few.groups.set_index([adaptation.SHARE, "method"])


def test_each_share_has_means_over_all_draws_of_all_runs(tmp_path):
    one, two = (make_self_mask(tmp_path / f"run{seed}", seed) for seed in (1, 2))
    report, few = summary_of(tmp_path)
    assert len(few) == 6
    for key, values in one.items():
        values = values + two[key]
        assert few.loc[key, "count"] == 6
        np.testing.assert_allclose(few.loc[key, "mean"], np.mean(values))
        np.testing.assert_allclose(few.loc[key, "std"], np.std(values, ddof=1))
    assert set(report.adapted.groups["method"]) == set(NETWORKS)  # has a table of its own


@pytest.mark.parametrize("baseline", ["mask", "mask + linear_probe"])
def test_the_others_are_tested_against_a_network_paired_by_draw(tmp_path, baseline):
    made = [make_self_mask(tmp_path / f"run{seed}", seed, better=0.2) for seed in (1, 2)]
    _, few = summary_of(tmp_path, baseline=baseline)
    for share in (0.1, 0.01):
        probe = made[0][share, ROWS[0]] + made[1][share, ROWS[0]]
        for row in ROWS[1:]:
            values = made[0][share, row] + made[1][share, row]
            found = few.loc[(share, row)]
            assert found["pairs"] == 6
            np.testing.assert_allclose(found["paired_p"], stats.ttest_rel(values, probe).pvalue)
            expected = stats.ttest_ind(values, probe, equal_var=False).pvalue
            np.testing.assert_allclose(found["welch_p"], expected)
    assert few["welch_p_holm"].notna().sum() == 4


def test_networks_of_different_losses_are_not_averaged(tmp_path):
    make_self_mask(tmp_path / "one", 1)
    make_self_mask(tmp_path / "two", 1, loss="simclr()")
    _, few = summary_of(tmp_path)
    names = set(few.index.get_level_values("method"))
    assert "mask (loss=swav()) + linear_probe" in names
    assert "mask (loss=simclr()) + linear_probe" in names
    assert set(few["count"]) == {3}


def test_what_few_labels_were_asked_for_is_no_setting_of_the_networks(tmp_path):
    """Another share in a second run: the networks are the same setting."""
    make_self_mask(tmp_path / "one", 1)
    make_self_mask(tmp_path / "two", 2, shares=(0.1, 0.02), draws=2)
    report, few = summary_of(tmp_path)
    assert list(report.adapted.groups["method"]) == ["untouched", "mask"]
    assert [few.loc[(share, ROWS[0]), "count"] for share in (0.1, 0.02, 0.01)] == [5, 2, 3]


def test_other_settings_on_the_labels_are_rows_of_their_own(tmp_path):
    make_self_mask(tmp_path / "one", 1, shares=(0.1,))
    make_self_mask(tmp_path / "two", 2, shares=(0.1,), **{"full.train.epochs": 99})
    named = few_labels.runs_of(adaptation.named(collect.collect([tmp_path])))
    full = {name for name in named["method"] if "full" in name}
    assert full == {f"untouched + full (full.train.epochs={each})" for each in (10, 99)}


def test_the_command_draws_the_curve_and_an_earlier_one_is_removed(tmp_path, capsys):
    make_self_mask(tmp_path / "run", 1)
    out = tmp_path / "report"
    assert main([str(tmp_path / "run"), f"--out={out}", "--baseline=mask"]) == 0
    shown = capsys.readouterr().out
    assert "over 3 draws of the labels" in shown
    assert "against mask + linear_probe" in shown
    assert (out / "figures" / "low_labels.png").stat().st_size > 5000
    assert len(pd.read_csv(out / "few_labels.csv")) == 18
    assert (out / "table.md").read_text().count("mask + linear_probe | 0.01") == 1
    make_adapt(tmp_path / "other", {"mask": 0.5, "full": 0.6})
    assert main([str(tmp_path / "other"), f"--out={out}"]) == 0
    assert not (out / "figures" / "low_labels.png").exists()
    assert not (out / "few_labels.csv").exists()


def test_one_share_is_named_below_the_table_and_makes_no_curve(tmp_path):
    make_self_mask(tmp_path / "run", 1, shares=(0.02,), draws=1)
    report = grid.make([tmp_path / "run"])
    assert "Fraction of labels: 0.02." in report.few.caption
    assert not few_labels.draw(tmp_path / "a.png", report.few)


def test_another_measure_than_theirs_leaves_them_out(tmp_path):
    make_self_mask(tmp_path / "run", 1)
    for name in NETWORKS:
        path = tmp_path / "run" / name / "result.json"
        found = json.loads(path.read_text())
        path.write_text(json.dumps({**found, "knn_accuracy": 0.5}))
    report, few = summary_of(tmp_path / "run", metric="knn_accuracy")
    assert few is None
    assert len(grid.tables(report)) == 1


def test_a_part_that_is_not_finished_is_left_out(tmp_path):
    made = make_self_mask(tmp_path / "run", 1)
    (tmp_path / "run" / "labels" / "0.1" / "draw3" / "mask" / "result.json").unlink()
    _, few = summary_of(tmp_path / "run")
    assert few.loc[(0.1, ROWS[0]), "count"] == 2
    np.testing.assert_allclose(few.loc[(0.1, ROWS[0]), "mean"], np.mean(made[0.1, ROWS[0]][:2]))
