"""Published figures: read, matched with rows, and found by their density."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxmask.errors import InputError
from jaxmask.report import published


def write(tmp_path, text):
    path = tmp_path / "published.csv"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("text", "rows", "reason"),
    [
        ("name,0.1\nx,1\n", [], "no column 'algorithm' .it has name, 0.1"),
        ("algorithm,x\nsnip USS,1\n", [], "no column for a density"),
        ("algorithm,0.1\nx,1\n", [], r"none of its algorithms \(x\).*\(snip USS\)"),
        ("algorithm,0.1\nx,1\nx,2\n", [], "'x' twice"),
        ("algorithm,0.1\nx,1\n", ["x"], "must be NAME=LABEL"),
        ("algorithm,0.1\nx,1\n", ["y=snip USS"], "no algorithm 'y'; known: x"),
        ("algorithm,0.1\nx,1\n", ["x=snap USS"], "no row 'snap USS'; did you mean 'snip USS'"),
        ("", [], "is not a CSV file"),
        ('algorithm,0.1\n"x,1\n', [], "is not a CSV file"),
    ],
)
def test_a_bad_file_of_figures_is_reported(tmp_path, text, rows, reason):
    with pytest.raises(InputError, match=reason):
        published.read(write(tmp_path, text), ["snip USS"], rows)


def test_a_missing_file_of_figures_is_reported(tmp_path):
    with pytest.raises(InputError, match=r"no\.csv does not exist"):
        published.read(tmp_path / "no.csv", [])


def test_figures_belong_to_the_row_of_their_name_or_to_the_one_that_is_given(tmp_path):
    path = write(tmp_path, "algorithm,source,50%,0.1\nSNIP uss,them,93.1,89.83\nOther,,1,\n")
    labels = ["snip USS", "a|b USS"]
    assert published.read(path, labels) == {"snip USS": {0.5: "93.1", 0.1: "89.83"}}
    found = published.read(path, labels, ["Other=a|b USS", "SNIP uss=snip USS"])
    assert found == {"snip USS": {0.5: "93.1", 0.1: "89.83"}, "a|b USS": {0.5: "1"}}


def test_a_label_may_have_equals_signs_and_blanks_are_no_part_of_a_name(tmp_path):
    path = write(tmp_path, " algorithm , 10% \n GraSP , 90.0 ± 1 \n")
    label = "grasp(temperature=200.0) USS"
    assert published.read(path, [label], [f"GraSP = {label}"]) == {label: {0.1: "90.0 ± 1"}}


@given(st.floats(1e-6, 1), st.sampled_from([0, 1e-7, -1e-7, 1e-4, -1e-4]))
def test_densities_are_equal_to_six_digits(density, off):
    found = published.at({"a": {density: "1"}}, "a", density * (1 + off))
    assert found == ("1" if abs(off) < 1e-6 else "")
    assert published.at({"a": {density: "1"}}, "b", density) == ""
