"""Pictures of finished runs: what is drawn of them, read back from the axes."""

import json

import numpy as np
import pytest

from jaxmask.report import canvas, figures
from jaxmask.run.result import Result

RESULT = {
    "method": "mask", "accuracy": 0.98214, "validation_accuracy": 0.99, "density": 0.9358,
    "trained_numbers": 92069, "storage_bytes": 14558, "seconds": 3.26,
    "density_by_leaf": {"a": 0.5},
}  # fmt: skip


def write(folder, **changes):
    folder.mkdir(parents=True)
    result = {**RESULT, "method": folder.name, **changes}
    (folder / "result.json").write_text(json.dumps(result))
    lines = [
        {"step": 8 * epoch, "epoch": epoch, "split": split, "loss": 1 / epoch}
        for epoch in (1, 2)
        for split in ("train", "validation")
    ]
    lines.append({"step": 16, "epoch": 2, "split": "validation", "loss": None})
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


@pytest.fixture
def drawn(monkeypatch):
    """The axes of the figures that are saved, by the names of their files."""
    axes = {}
    monkeypatch.setattr(
        canvas, "save", lambda figure, path: axes.update({path.stem: figure.axes[0]})
    )
    return axes


def test_plots_are_drawn_the_same_twice(tmp_path):
    write(tmp_path / "mask")
    write(tmp_path / "probe", density_by_leaf={})
    (tmp_path / "probe" / "metrics.jsonl").write_text("")
    figures.comparison(tmp_path, ["mask", "probe"])
    names = ("accuracy_against_bytes", "loss", "density_mask")
    first = [(tmp_path / "figures" / f"{name}.png").read_bytes() for name in names]
    figures.comparison(tmp_path, ["mask", "probe"])
    assert first == [(tmp_path / "figures" / f"{name}.png").read_bytes() for name in names]
    figures.method(tmp_path / "mask", "mask", RESULT["density_by_leaf"])
    figures.method(tmp_path / "probe", "probe", {})
    assert (tmp_path / "mask" / "figures" / "density_by_layer.png").exists()
    assert (tmp_path / "mask" / "figures" / "loss.png").exists()
    assert not (tmp_path / "probe" / "figures").exists()


def test_accuracy_is_over_bytes_one_named_point_a_method(tmp_path, drawn):
    def result(accuracy, size):
        return Result("adapt", "", "", 0, accuracy, None, size, 0, 0.0)

    results = {"full": result(0.9, 10**6), "mask": result(0.8, 2000)}
    figures.accuracy_against_bytes(tmp_path / "a.png", results)
    axes = drawn["a"]
    points = [point.get_offsets()[0].tolist() for point in axes.collections]
    assert points == [[10**6, 90.0], [2000, 80.0]]
    assert [text.get_text() for text in axes.texts] == ["full", "mask"]
    assert axes.get_xscale() == "log"


def test_losses_are_lines_over_epochs_by_split(tmp_path, drawn):
    points = [("train", 1, 2.0), ("validation", 1, 3.0), ("train", 2, 1.0),
              ("validation", 2, None), ("test", 2, 5.0)]  # fmt: skip
    rows = [dict(zip(("split", "epoch", "loss"), point)) for point in points]
    figures.loss_curves(tmp_path / "loss.png", {"full": rows, "knn": []})
    lines = {line.get_label(): (line.get_xydata().tolist(), line.get_linestyle())
             for line in drawn["loss"].lines}  # fmt: skip
    assert lines == {
        "full (train)": ([[1, 2.0], [2, 1.0]], "--"),
        "full (validation)": ([[1, 3.0]], "-"),
    }


def test_without_epochs_there_is_no_picture(tmp_path, drawn):
    rows = [{"split": "validation", "epoch": 0, "loss": 1.0}]
    figures.loss_curves(tmp_path / "loss.png", {"knn": rows})
    assert drawn == {}


def test_densities_are_bars_with_the_input_at_the_top(tmp_path, drawn):
    figures.density_by_layer(tmp_path / "d.png", {"fc1": 0.25, "fc2": 0.75})
    axes = drawn["d"]
    assert [bar.get_width() for bar in axes.patches] == [0.25, 0.75]
    assert axes.get_xlim() == (0, 1)
    assert axes.yaxis_inverted()


def test_confusion_is_of_shares_of_the_true_class(tmp_path, drawn):
    counts = np.array([[3, 1], [0, 0]])
    figures.confusion(tmp_path / "c.png", counts, ("a", "b"))
    np.testing.assert_array_equal(drawn["c"].images[0].get_array(), [[0.75, 0.25], [0, 0]])
    assert [text.get_text() for text in drawn["c"].get_yticklabels()] == ["a", "b"]
