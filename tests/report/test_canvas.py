"""A figure to draw on: its styles, and its file."""

import pandas as pd
import pytest

from jaxmask.report import canvas


def table(*pairs):
    return pd.DataFrame(
        [{"series": f"{method} {schedule}".strip(), "schedule": schedule}
         for method, schedule in pairs]
    )  # fmt: skip


def test_a_method_has_one_color_and_a_schedule_one_style_of_line():
    found = canvas.styles(table(("snip", "USS"), ("snip", "UMS"), ("grasp", "USS"), ("dense", "")))
    assert found["snip USS"]["color"] == found["snip UMS"]["color"] != found["grasp USS"]["color"]
    assert found["snip USS"]["marker"] == found["snip UMS"]["marker"]
    styles = {name: each["linestyle"] for name, each in found.items()}
    assert styles == {"snip USS": "-", "snip UMS": "--", "grasp USS": "-", "dense": "-"}


@pytest.mark.parametrize("count", [10, 20])
def test_so_many_methods_have_colors_of_their_own(count):
    found = canvas.styles(table(*((f"method{index}", "USS") for index in range(count))))
    assert len({each["color"] for each in found.values()}) == count


def test_rows_of_one_series_count_once():
    once = table(("a", "USS"), ("b", "USS"))
    assert canvas.styles(pd.concat([once, once])) == canvas.styles(once)


@pytest.mark.parametrize(("names", "columns"), [(1, 1), (20, 1), (21, 2), (41, 3)])
def test_a_long_legend_has_more_columns(names, columns):
    _, axes = canvas.new(4, 3)
    for index in range(names):
        axes.plot([0, 1], [0, index], label=str(index))
    canvas.legend(axes)
    assert axes.get_legend()._ncols == columns


def test_a_figure_grows_as_its_legend_needs():
    widths = []
    for name in ("a", "a" * 90):
        figure, axes = canvas.new(4, 3)
        axes.plot([0, 1], [0, 1], label=name)
        canvas.legend(axes)
        figure.canvas.draw()
        assert axes.get_window_extent().width > 1.5 * figure.dpi
        widths.append(figure.get_figwidth())
    assert widths[0] == 4 < widths[1]


def test_the_same_figure_gives_the_same_bytes_and_folders_are_made(tmp_path):
    contents = []
    for name in ("a", "b"):
        figure, axes = canvas.new(2, 1)
        axes.plot([0, 1], [1, 0])
        path = tmp_path / name / "deep" / "x.png"
        canvas.save(figure, path)
        contents.append(path.read_bytes())
    assert contents[0] == contents[1]
    assert contents[0].startswith(b"\x89PNG")


def test_a_logarithmic_axis_has_a_number_at_each_value_with_room():
    _, axes = canvas.new(4, 3)
    canvas.log_axis(axes, [1, 10_000, 9_000, 100, 100], ",", apart=0.1)
    ticks = axes.xaxis.get_major_locator()()
    assert list(ticks) == [10_000, 100, 1]
    assert [axes.xaxis.get_major_formatter()(value) for value in ticks] == ["10,000", "100", "1"]
    canvas.log_axis(axes, [25.0, 0.5], ".3g")
    assert list(axes.xaxis.get_major_locator()()) == [25.0, 0.5]


def test_long_names_are_shortened():
    names = ["a" * 24, "b" * 25]
    assert [canvas.shortened(name) for name in names] == ["a" * 24, "b" * 21 + "..."]


def test_panels_are_in_rows():
    figure, found = canvas.panels(4, 3, 2.0, 1.0)
    assert figure.get_size_inches().tolist() == [6.0, 2.0]
    assert len(found) == 4
    assert [axes.get_visible() for axes in figure.axes] == [True] * 4 + [False] * 2
