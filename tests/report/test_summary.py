import io

import pytest
from finished_runs import A, B, frame_of
from rich.console import Console

from jaxmask.errors import InputError
from jaxmask.report import summary
from jaxmask.report.significance import compare

FAR = [0.14, 0.11, 0.1]


@pytest.fixture
def table():
    samples = {("snip", 0.1): B, ("snip", 0.5): A, ("grasp[x]", 0.1): FAR, ("a|b", 0.5): [0.5]}
    return compare(frame_of(samples), "snip USS")


def test_rows_are_methods_and_columns_densities(table):
    shown = summary.pivot(table)
    assert list(shown.columns) == ["method", "0.5", "0.1"]
    assert shown.values.tolist() == [
        ["a|b USS", "50.00", ""],
        ["grasp[x] USS", "", "11.67 ± 2.08***"],
        ["snip USS", "92.75 ± 1.71", "90.33 ± 2.52"],
    ]
    # three pairs carry less than two samples of three
    assert summary.pivot(table, "paired").values.tolist()[1][2] == "11.67 ± 2.08**"


def test_the_caption_says_what_was_tested(table):
    said = summary.caption(table)
    assert said.startswith("test accuracy in % by target density: mean ± sample standard deviation "
                           "over 1 to 4 seeds. * p < 0.05")  # fmt: skip
    assert "Welch's t-test against snip USS at the same density" in said
    assert "over the 1 comparisons of this table" in said
    assert "test against" not in summary.caption(compare(frame_of({("snip", 0.1): B})))


def test_markdown_and_terminal_keep_the_text(table):
    shown = summary.pivot(table)
    lines = summary.markdown(shown, "* p < 0.05").splitlines()
    assert lines[:3] == [
        "| method | 0.5 | 0.1 |",
        "| --- | --- | --- |",
        "| a\\|b USS | 50.00 |  |",
    ]
    assert lines[-1] == "\\* p < 0.05"
    printed = io.StringIO()
    Console(width=100, file=printed).print(summary.terminal(shown))
    assert "grasp[x] USS" in printed.getvalue()


def test_other_settings_and_unknown_densities_have_columns():
    frame = frame_of({("snip", 0.1): B, ("adapt", None): A}, **{"config.train.epochs": 1})
    frame.loc[frame["seed"] == 0, "config.train.epochs"] = 2
    shown = summary.pivot(compare(frame))
    assert list(shown.columns) == ["method", "epochs", "0.1", "density unknown"]
    assert shown["epochs"].tolist() == ["1", "2", "1", "2"]
    assert shown["density unknown"].tolist()[0] == "93.33 ± 1.53"
    with pytest.raises(InputError, match=r"'snip USS' has several: they differ in config"):
        summary.pivot(compare(frame), beside={"snip USS": {0.1: "1"}})
    shown = summary.pivot(compare(frame), beside={"snip USS, epochs=2": {0.1: "7"}})
    found = dict(zip(zip(shown["method"], shown["epochs"]), shown["0.1"]))
    assert found[("snip USS", "2")].endswith("(7)")
    assert "(7)" not in found[("snip USS", "1")]


def test_other_metrics_are_not_percent():
    frame = frame_of({("snip", 0.1): B}).assign(seconds=[10.0, 12.0, 14.0])
    assert summary.pivot(compare(frame, metric="seconds"))["0.1"][0] == "12 ± 2"
    assert summary.caption(compare(frame, metric="seconds")).startswith("seconds by")


def test_other_figures_stand_beside_ours(table):
    found = {"snip USS": {0.5: "93.1", 0.1: "89.83"}}
    shown = summary.pivot(table, beside=found)
    assert shown.values.tolist()[2] == ["snip USS", "92.75 ± 1.71 (93.1)", "90.33 ± 2.52 (89.83)"]
    shown = summary.pivot(table, beside={"a|b USS": {0.1: "7"}})
    assert shown.values.tolist()[0] == ["a|b USS", "50.00", "(7)"]
