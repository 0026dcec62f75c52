"""Settings of one density, ranked."""

import warnings

import pytest
from finished_runs import A, B, frame_of

from jaxmask.report import canvas, grid_figures, significance


@pytest.fixture
def drawn(monkeypatch):
    found = []
    monkeypatch.setattr(canvas, "save", lambda figure, path: found.append(figure))
    return found


def test_the_best_is_at_the_top_and_bars_are_deviations(drawn, tmp_path):
    samples = {("snip", 0.1): B, ("grasp", 0.1): [0.7, 0.8, 0.6], ("random", 0.1): [0.5]}
    table = significance.compare(frame_of(samples))
    assert grid_figures.against_density(tmp_path / "x.png", table)
    (axes,) = drawn[0].axes
    names = [text.get_text() for text in axes.get_yticklabels()]
    assert names == ["random USS", "grasp USS", "snip USS"]
    points, _, (bars,) = axes.containers[0]
    means = table.set_index("method")["mean"]
    assert points.get_xdata() == pytest.approx([50, 70, 100 * means["snip"]])
    lengths = [ends[1][0] - ends[0][0] for ends in bars.get_segments()]
    assert lengths[:2] == pytest.approx([0, 20])  # twice the deviation; 0 of a single seed
    assert axes.get_xlabel() == "test accuracy (%), target density 0.1"


def test_names_of_any_length_leave_room_for_the_plot(tmp_path):
    samples = {("snip", 0.1): B, ("learned('" + 40 * "long/" + "path')", 0.1): A}
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # of a layout that collapses
        grid_figures.against_density(tmp_path / "x.png", significance.compare(frame_of(samples)))


def test_several_densities_are_lines(drawn, tmp_path):
    table = significance.compare(frame_of({("snip", 0.1): B, ("snip", 0.5): A}))
    assert grid_figures.against_density(tmp_path / "x.png", table)
    assert drawn[0].axes[0].get_xscale() == "log"


def test_dense_networks_are_lines_across(drawn, tmp_path):
    samples = {("snip", 0.1): B, ("grasp", 0.1): A, ("dense", 1.0): [0.97, 0.99]}
    assert grid_figures.against_density(tmp_path / "x.png", significance.compare(frame_of(samples)))
    (axes,) = drawn[0].axes
    (line,) = [each for each in axes.lines if str(each.get_label()).startswith("dense")]
    assert line.get_xdata() == pytest.approx([98, 98])
    assert len(axes.get_yticklabels()) == 2
