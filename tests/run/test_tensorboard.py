import numpy as np
import pytest
from boards import events, histogram, hyperparameters, raw, tags
from experiments import config, finished, result
from safetensors.numpy import load_file

from jaxmask import mask
from jaxmask.run.result import Result
from jaxmask.run.tensorboard import levels, ticket
from jaxmask.train.board import Board

KERNELS = ("fc1", "fc2", "head")


def of_level(density, **changes):
    found = Result("lottery", "magnitude", "digits", 0, 0.9, 0.9, 1, 10, 2.0, density=density,
                   more={"chosen_step": 40, "effective_density": density / 2})  # fmt: skip
    return found._replace(**changes)


def test_a_ticket_shows_the_weights_under_its_mask(tmp_path):
    masks = {"a": {"kernel": np.array([[1, 0], [1, 1]], bool), "bias": None}, "b": None}
    before = {"a": {"kernel": np.array([[1.0, 9.0], [2.0, 3.0]]), "bias": np.ones(2)}, "b": None}
    after = {"a": {"kernel": np.array([[-4.0, 9.0], [5.0, 6.0]]), "bias": np.ones(2)}, "b": None}
    with Board(tmp_path) as board:
        ticket(board, 8, before, after, masks, of_level(0.75))
    for name, low, high in (("initial_weights", 1, 3), ("weights", -4, 6)):
        step, found = histogram(tmp_path, f"{name}/a/kernel")
        assert (step, found.num, found.min, found.max) == (8, 3, low, high)
        assert not raw(tmp_path, f"{name}/a/bias")
    assert tags(tmp_path) == {"ticket/density", "ticket/effective_density"}


def test_levels_stand_in_place_of_steps(tmp_path):
    found = [of_level(1.0), of_level(0.3, accuracy=None), of_level(0.09)]
    for _ in range(2):  # killed before the end of the run, and written again
        levels(tmp_path, config("lottery", criterion="magnitude"), found)
    board = events(tmp_path)
    shown = [(each.step, each.value) for each in board.Scalars("ticket/density")]
    assert shown == [(0, 1), (1, pytest.approx(0.3)), (2, pytest.approx(0.09))]
    assert [each.step for each in board.Scalars("test/accuracy")] == [0, 2]
    assert {"ticket/chosen_step", "seconds/level", "ticket/effective_density"} <= tags(tmp_path)
    fields, metrics = hyperparameters(tmp_path)
    assert fields["criterion"] == "magnitude"
    assert fields["train.batch_size"] == 32
    assert fields["rules"] == '[[".*/kernel", "mask"]]'
    assert metrics == ["test/accuracy", "ticket/density"]
    assert "grid" not in fields


def test_a_pruned_run_shows_all_of_it_and_trains_the_same(tmp_path, monkeypatch, quick_compilation):
    told = finished(tmp_path / "one", criterion="magnitude", density=0.2, train__epochs=2)
    one = tmp_path / "one"
    board = events(one)
    assert [each.value for each in board.Scalars("ticket/density")] == [
        pytest.approx(0.2, abs=1e-3)
    ]
    assert [each.value for each in board.Scalars("test/accuracy")] == [
        pytest.approx(told["accuracy"])
    ]
    steps = [each.step for each in board.Scalars("train/loss")]
    assert [each.step for each in board.Scalars("seconds/epoch")] == steps
    assert all(each.value > 0 for each in board.Scalars("seconds/epoch"))
    fields, _ = hyperparameters(one)
    assert (fields["criterion"], fields["density"], fields["seed"]) == ("magnitude", 0.2, 0)
    bits = mask.file.load(one / "masks" / "ticket.mask")
    for group, file in (("initial_weights", "initial"), ("weights", "weights")):
        arrays = load_file(one / f"{file}.safetensors")
        for name in KERNELS:
            kept = arrays[f"params/{name}/kernel"][np.asarray(bits[name]["kernel"])]
            _, found = histogram(one, f"{group}/{name}/kernel")
            assert (found.num, found.sum) == (kept.size, pytest.approx(kept.sum(), abs=1e-3))
    for name in ("scalar", "histograms", "hyperparameters"):
        monkeypatch.setattr(Board, name, lambda *given: None)
    finished(tmp_path / "two", criterion="magnitude", density=0.2, train__epochs=2)
    one, two = (load_file(tmp_path / name / "weights.safetensors") for name in ("one", "two"))
    assert all(np.array_equal(one[name], two[name]) for name in one)
    assert result(tmp_path / "two")["accuracy"] == told["accuracy"]
