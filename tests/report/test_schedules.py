import numpy as np
import pandas as pd
import pytest
from finished_runs import make_run
from scipy import stats

from jaxmask.report import collect, grid, groups, published, schedules

OWN = {0: 0.90, 1: 0.92, 2: 0.91}
CHANGED = {0: 0.93, 1: 0.94, 2: 0.96}


@pytest.mark.parametrize(
    ("criterion", "among", "wanted"),
    [
        ("magnitude", ["USS", "UMS", "ISS", "IMS"], "ISS"),
        ("synflow()", ["IMS", "UMS"], "UMS"),
        ("snip(revive=True)", ["UMS", "USS", "ISS"], "USS"),
        ("stack(magnitude, synflow)", ["UMS", "USS"], "USS"),
        ("magnitude", ["UMS", "USS"], "USS"),
        ("synflow", ["IMS", "ISS"], "ISS"),
        ("my_own", ["", "once"], ""),
    ],
)
def test_a_criterion_has_the_schedule_that_it_was_published_with(criterion, among, wanted):
    assert schedules.own(criterion, among) == wanted


def runs_of(folder):
    for seed, accuracy in OWN.items():
        make_run(folder / f"own{seed}", accuracy, "synflow", "UMS", 0.1, seed, files=False)
        make_run(folder / f"iss{seed}", CHANGED[seed], "synflow", "ISS", 0.1, seed, files=False)
        make_run(folder / f"uss{seed}", 0.5, "synflow", "USS", 0.5, seed, files=False)
        make_run(folder / f"alone{seed}", 0.7, "snip", "UMS", 0.1, seed, files=False)
    return collect.collect([folder])


def test_the_change_is_of_pairs_with_equal_seeds(tmp_path):
    frame = runs_of(tmp_path)
    (line,) = schedules.changes(frame).to_dict("records")
    differences = np.array([CHANGED[seed] - OWN[seed] for seed in OWN])
    assert (line["method"], line["schedule"], line["own"]) == ("synflow", "ISS", "UMS")
    assert (line["target_density"], line["pairs"]) == (0.1, 3)
    assert line["difference"] == pytest.approx(differences.mean())
    assert line["std"] == pytest.approx(differences.std(ddof=1))
    wanted = stats.ttest_rel(list(CHANGED.values()), list(OWN.values()))
    assert (line["t"], line["p"]) == pytest.approx((wanted.statistic, wanted.pvalue))
    assert line["p_holm"] == line["p"]


def test_runs_from_other_initial_weights_are_no_pairs(tmp_path):
    frame = runs_of(tmp_path)
    make_run(tmp_path / "other", 0.1, "synflow", "ISS", 0.1, 3, initial="others", files=False)
    make_run(tmp_path / "own3", 0.9, "synflow", "UMS", 0.1, 3, files=False)
    again = collect.collect([tmp_path])
    assert len(again) == len(frame) + 2
    assert schedules.changes(again)["pairs"].tolist() == [3]


def test_other_networks_and_starts_are_compared_apart(tmp_path):
    for seed in range(2):
        for start, gain in (("kaiming", 0.01), ("bi_modal", 0.03)):
            for schedule, more in (("USS", 0), ("UMS", gain)):
                make_run(tmp_path / f"{seed}{start}{schedule}", 0.9 + 0.01 * seed + more, "snip",
                         schedule, 0.1, seed, initial=f"{start} {seed}", files=False,
                         config={"initial": start})  # fmt: skip
    found = schedules.changes(collect.collect([tmp_path]))
    gains = dict(zip(found["context"], found["difference"]))
    assert gains == pytest.approx({"initial=kaiming": 0.01, "initial=bi_modal": 0.03})


def test_nothing_but_the_schedule_differs_between_runs_that_are_compared(tmp_path):
    for epochs, schedule, accuracy in ((4, "USS", 0.8), (4, "UMS", 0.9), (9, "UMS", 0.99)):
        make_run(tmp_path / f"{schedule}{epochs}", accuracy, "snip", schedule, 0.1, files=False,
                 config={"train": {"epochs": epochs}})  # fmt: skip
    make_run(tmp_path / "iss", 0.85, "snip", "ISS", 0.1, files=False, recipe="lottery",
             rounds=3, config={"round_schedule": "linear", "recipe": "lottery"})  # fmt: skip
    found = schedules.changes(collect.collect([tmp_path]))
    changes = dict(zip(found["schedule"], found["difference"]))
    assert changes == pytest.approx({"UMS": 0.1, "ISS": 0.05})


def test_a_schedule_with_several_settings_has_no_single_one_to_compare_with(tmp_path):
    for rounds in (3, 5):
        make_run(tmp_path / f"iss{rounds}", 0.9, "magnitude", "ISS", 0.1, rounds=rounds)
    make_run(tmp_path / "uss", 0.8, "magnitude", "USS", 0.1)
    assert schedules.changes(collect.collect([tmp_path])).empty


def test_the_table_shows_points_and_the_published_difference(tmp_path):
    frame = runs_of(tmp_path / "runs")
    file = tmp_path / "published.csv"
    file.write_text("algorithm,0.1,0.5\nsynflow UMS,80.0,\nsynflow ISS,81.5,70\n")
    labels = list(dict.fromkeys(groups.labels(groups.settings(frame)[0])))
    ((table, caption),) = schedules.tables(frame, "accuracy", published.read(file, labels))
    stars = schedules.changes(frame)["stars"][0]
    assert table.values.tolist() == [["synflow ISS, less UMS", f"+3.33 ± 1.53{stars} (+1.50)"]]
    assert list(table.columns) == ["method", "0.1"]
    assert "in percentage points" in caption
    assert "differences of 3 pairs" in caption
    assert "published" in caption
    ((_, plain),) = schedules.tables(frame, "accuracy")
    assert "published" not in plain


def test_without_other_schedules_there_is_no_table_and_no_figure(tmp_path):
    make_run(tmp_path / "runs" / "one", 0.9)
    frame = collect.collect([tmp_path])
    assert schedules.tables(frame, "accuracy") == []
    assert schedules.changes(pd.DataFrame(frame.assign(method="dense"))).empty
    grid.save(grid.make([tmp_path / "runs"]), tmp_path / "out")
    assert not (tmp_path / "out" / "figures" / "change_against_own_schedule.png").exists()


def test_a_report_draws_the_change(tmp_path):
    runs_of(tmp_path / "runs")
    made = grid.make([tmp_path / "runs"])
    captions = [caption for _, caption, _ in grid.tables(made)]
    assert any(each.startswith("Change of test accuracy") for each in captions)
    assert any(each.startswith("steps to the chosen epoch") for each in captions)
    grid.save(made, tmp_path / "out")
    assert (tmp_path / "out" / "figures" / "change_against_own_schedule.png").exists()
