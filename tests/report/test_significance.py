import math
import warnings

import numpy as np
import pandas as pd
import pytest
from finished_runs import A, B, frame_of
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import stdtr

from jaxmask.errors import InputError
from jaxmask.report import significance
from jaxmask.report.significance import compare, holm, paired, stars, welch


def test_welch_is_the_formula():
    x, y = np.array(A), np.array(B)
    u, v = x.var(ddof=1) / 4, y.var(ddof=1) / 3
    t = (x.mean() - y.mean()) / np.sqrt(u + v)
    freedom = (u + v) ** 2 / (u**2 / 3 + v**2 / 2)
    assert welch(A, B) == pytest.approx((t, 2 * stdtr(freedom, -abs(t))))


def test_paired_is_the_formula():
    d = np.array(A[:3]) - np.array(B)
    t = d.mean() / (d.std(ddof=1) / np.sqrt(3))
    assert paired(A[:3], B) == pytest.approx((t, 2 * stdtr(2, -abs(t))))


@pytest.mark.parametrize(
    ("a", "b"),
    [([], []), ([0.5], [0.5, 0.6]), ([0.1] * 3, [0.2] * 3), ([0.1] * 2, [0.1] * 2), ([0], [0])],
)
def test_without_variance_there_is_no_test(a, b):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isnan(welch(a, b)).all()
        assert np.isnan(paired(a, b[: len(a)])).all()
        # differences that are equal up to rounding
        assert np.isnan(paired([0.9, 0.8, 0.7], [0.8, 0.7, 0.6])).all()
        assert 0 < welch([0.1, 0.1, 0.1], [0.2, 0.3, 0.4])[1] < 1


def test_holm_by_hand():
    # sorted 0.005, 0.01, 0.03, 0.04 times 4, 3, 2, 1 is 0.02, 0.03, 0.06, 0.04 -> 0.06
    found = holm([0.01, 0.04, math.nan, 0.03, 0.005])
    assert found == pytest.approx([0.03, 0.06, math.nan, 0.06, 0.02], nan_ok=True)
    assert holm([]) == []
    assert holm([0.7, 0.9]) == [1.0, 1.0]


@settings(deadline=None)  # other work shares the machine
@given(st.lists(st.floats(0, 1), max_size=30))
def test_holm_raises_keeps_the_order_and_stays_below_one(values):
    found = np.array(holm(values))
    assert len(found) == len(values)
    assert (found >= values).all()
    assert (found <= 1).all()
    assert (np.diff(found[np.argsort(values, kind="stable")]) >= 0).all()
    assert (found <= np.minimum(np.array(values) * len(values), 1)).all()  # Bonferroni's


def test_stars():
    marks = [stars(p) for p in (0.0009, 0.001, 0.009, 0.01, 0.049, 0.05, math.nan)]
    assert marks == ["***", "**", "**", "*", "*", "", ""]


def row(table, method, density):
    return table[(table["method"] == method) & (table["target_density"] == density)].iloc[0]


def test_each_setting_is_tested_at_its_own_density():
    frame = frame_of({("snip", 0.1): B, ("grasp", 0.1): A, ("snip", 0.5): A, ("grasp", 0.5): B,
                      ("random", 0.01): A})  # fmt: skip
    table = compare(frame, "snip USS")
    found = row(table, "grasp", 0.1)
    assert (found["welch_t"], found["welch_p"]) == pytest.approx(welch(A, B))
    assert found["difference"] == pytest.approx(np.mean(A) - np.mean(B))
    assert found["difference_std"] == pytest.approx(
        math.sqrt(np.var(A, ddof=1) + np.var(B, ddof=1))
    )
    assert found["pairs"] == 3
    assert (found["paired_t"], found["paired_p"]) == pytest.approx(paired(A[:3], B))
    assert row(table, "grasp", 0.5)["welch_t"] == pytest.approx(welch(B, A)[0])
    # the family: two comparisons, of one p
    assert found["welch_p_holm"] == pytest.approx(min(1, 2 * found["welch_p"]))
    for alone in (row(table, "snip", 0.1), row(table, "random", 0.01)):
        assert math.isnan(alone["welch_p"])
        assert pd.isna(alone["baseline"])
        assert alone["welch_stars"] == ""


def test_only_runs_of_equal_initial_weights_are_paired():
    frame = frame_of({("snip", 0.1): [0.1, 0.4, 0.2, 0.3], ("grasp", 0.1): [0.2, 0.8, 0.5, 0.9]})
    frame.loc[5, "initial_sha256"] = "another"  # grasp, seed 1
    frame.loc[[2, 6], "initial_sha256"] = None  # seed 2
    found = row(compare(frame, "snip USS"), "grasp", 0.1)
    assert found["pairs"] == 2
    assert found["paired_t"] == pytest.approx(paired([0.2, 0.9], [0.1, 0.3])[0])
    assert found["welch_t"] == pytest.approx(welch([0.2, 0.8, 0.5, 0.9], [0.1, 0.4, 0.2, 0.3])[0])


def test_seeds_are_paired_by_number_and_not_by_place():
    frame = frame_of({("snip", 0.1): [0.1, 0.4, 0.2], ("grasp", 0.1): [0.2, 0.8, 0.5]})
    shuffled = frame.iloc[[4, 0, 5, 2, 3, 1]].reset_index(drop=True)
    found = row(compare(shuffled, "snip USS"), "grasp", 0.1)
    assert found["paired_t"] == pytest.approx(paired([0.2, 0.8, 0.5], [0.1, 0.4, 0.2])[0])


def test_datasets_are_never_compared_with_each_other():
    frame = pd.concat([
        frame_of({("snip", 0.1): A, ("grasp", 0.1): B}),
        frame_of({("grasp", 0.1): [0.1, 0.2, 0.3]}, dataset="mnist"),
    ])  # fmt: skip
    table = compare(frame.reset_index(drop=True), "snip USS").set_index(["dataset", "method"])
    assert table.loc[("digits", "grasp"), "welch_t"] == pytest.approx(welch(B, A)[0])
    assert math.isnan(table.loc[("mnist", "grasp"), "welch_t"])


def test_a_setting_of_the_baseline_is_compared_with_its_equal():
    frame = pd.concat([
        frame_of({("snip", 0.1): A, ("grasp", 0.1): B}, **{"config.rate": 1.0}),
        frame_of({("snip", 0.1): B, ("grasp", 0.1): A[:3]}, **{"config.rate": 2.0}),
    ])  # fmt: skip
    table = compare(frame.reset_index(drop=True), "snip USS").set_index(["config.rate", "method"])
    assert table.loc[(1.0, "grasp"), "welch_t"] == pytest.approx(welch(B, A)[0])
    assert table.loc[(2.0, "grasp"), "welch_t"] == pytest.approx(welch(A[:3], B)[0])


def test_a_whole_setting_is_the_baseline_of_all_others_on_its_data():
    frame = pd.concat([
        frame_of({("snip", 0.1): A, ("grasp", 0.1): B}, **{"config.rate": 1.0}),
        frame_of({("snip", 0.1): B, ("grasp", 0.5): A[:3]}, **{"config.rate": 2.0}),
        frame_of({("snip", 0.1): A[:3]}, **{"config.rate": 2.0, "dataset": "other"}),
    ])  # fmt: skip
    name = "snip USS, digits, rate=1"
    table = compare(frame.reset_index(drop=True), name)
    assert set(table["baseline"].dropna()) == {name}
    found = table.set_index(["dataset", "config.rate", "method"])["welch_t"]
    assert found["digits", 1.0, "grasp"] == pytest.approx(welch(B, A)[0])
    assert found["digits", 2.0, "snip"] == pytest.approx(welch(B, A)[0])
    assert found.notna().sum() == 2  # not itself, no other density, no other dataset
    with pytest.raises(
        InputError, match="'snip USS', or a whole setting such as 'grasp USS, digits"
    ):
        compare(frame.reset_index(drop=True), "snip USS, rate=3")


def test_the_dense_network_is_a_baseline_at_every_density():
    frame = frame_of({("dense", 1.0): A, ("snip", 0.1): B, ("snip", 0.5): B})
    frame.loc[frame["method"] == "dense", "schedule"] = ""
    table = compare(frame, "dense")
    assert table["welch_p"].notna().tolist() == [False, True, True]
    assert compare(frame, "snip USS")["welch_p"].isna().all()


def test_one_seed_gives_no_p_and_no_star():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table = compare(frame_of({("snip", 0.1): [0.5], ("grasp", 0.1): [0.9]}), "snip USS")
    found = row(table, "grasp", 0.1)
    assert found["difference"] == pytest.approx(0.4)
    assert np.isnan([found["welch_p"], found["paired_p"], found["std"]]).all()
    assert found["welch_stars"] == found["paired_stars"] == ""


def test_without_a_baseline_nothing_is_compared():
    table = compare(frame_of({("snip", 0.1): A, ("grasp", 0.1): B}))
    assert table[["baseline", "welch_p", "paired_p"]].isna().all(axis=None)


def test_an_unknown_baseline_lists_the_known_ones():
    with pytest.raises(InputError, match=r"'snap USS'; known: 'grasp USS', 'snip USS'"):
        compare(frame_of({("snip", 0.1): A, ("grasp", 0.1): B}), "snap USS")


def test_the_levels_fall():
    assert [level for level, _ in significance.LEVELS] == [0.001, 0.01, 0.05]
