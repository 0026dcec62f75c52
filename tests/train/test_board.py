import numpy as np
import pytest
from boards import events, histogram, hyperparameters, tags

from jaxmask.train.board import DRAWN, Board


def test_nothing_is_created_before_the_first_value(tmp_path):
    with Board(tmp_path) as board:
        board.histograms("weights", {"none": np.zeros(0), "broken": np.array([1.0, np.nan])}, 3)
    assert not list(tmp_path.iterdir())


def test_numbers_and_histograms_can_be_read_back(tmp_path):
    values = np.random.default_rng(0).normal(size=(20, 30))
    with Board(tmp_path) as board:
        board.scalar("seconds/epoch", 1.5, 7)
        board.histograms("weights", {"fc1/kernel": values}, 7)
    assert [(e.step, e.value) for e in events(tmp_path).Scalars("seconds/epoch")] == [(7, 1.5)]
    step, found = histogram(tmp_path, "weights/fc1/kernel")
    assert step == 7
    assert (found.num, sum(found.bucket)) == (600, 600)
    assert found.min == pytest.approx(values.min())
    assert found.max == pytest.approx(values.max())
    assert len(found.bucket) <= 65


@pytest.mark.parametrize(
    ("size", "drawn"), [(DRAWN, DRAWN), (DRAWN + 1, DRAWN // 2 + 1), (3 * DRAWN + 5, 196610)]
)
def test_the_cost_of_a_large_leaf_is_bounded(tmp_path, size, drawn):
    with Board(tmp_path) as board:
        board.histograms("weights", {"w": np.linspace(-1, 1, size).reshape(1, -1)}, 0)
    _, found = histogram(tmp_path, "weights/w")
    assert found.num == drawn
    assert found.min == -1
    assert found.sum == pytest.approx(0, abs=2)


def test_what_an_earlier_process_wrote_at_the_step_is_replaced(tmp_path):
    for value in (1.0, 2.0):
        with Board(tmp_path, 5) as board:
            board.scalar("a", value, 5)
    assert [each.value for each in events(tmp_path).Scalars("a")] == [2.0]


def test_hyperparameters_are_of_the_run_itself(tmp_path):
    with Board(tmp_path) as board:
        fields = {"density": 0.05, "criterion": "snip", "flip": False}
        board.scalar("test/accuracy", 0.5, 1)
        board.hyperparameters(fields, ["test/accuracy"])
    assert not [each for each in (tmp_path / "tensorboard").iterdir() if each.is_dir()]
    found, metrics = hyperparameters(tmp_path)
    assert (found, metrics) == (fields, ["test/accuracy"])
    assert [each.value for each in events(tmp_path).Scalars("test/accuracy")] == [0.5]
    assert tags(tmp_path) == {"test/accuracy"}
