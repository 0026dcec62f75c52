"""Training loss by epoch: mean over seeds, of settings with one loss function."""

import pytest
from finished_runs import add_losses, make_adapt

from jaxmask.report import adaptation, loss_figures
from jaxmask.report.collect import collect


def named(folder):
    return adaptation.named(collect([folder]))


def lines(folder):
    table = loss_figures.losses(named(folder))
    return {
        key: dict(zip(line["epoch"], line["loss"]))
        for key, line in table.groupby(["panel", "series"], sort=False)
    }


def test_one_line_per_setting_up_to_the_epoch_that_all_seeds_reached(tmp_path):
    for rate, seed, losses in (
        (1, 0, [4.0, 2.0, 1.0]),
        (1, 1, [6.0, 3.0]),
        (2, 0, [5.0, None, 3.0]),
    ):
        run = make_adapt(tmp_path / f"{rate}-{seed}", {"mask": 0.5}, seed,
                         config={"mask.choices": [rate], "mask.epochs": rate})  # fmt: skip
        add_losses(run / "mask", losses)
    assert lines(tmp_path) == {
        ("cross-entropy", "mask (epochs=1)"): {1: 5.0, 2: 2.5},
        ("cross-entropy", "mask (epochs=2)"): {1: 5.0, 3: 3.0},
    }
    assert loss_figures.draw(tmp_path / "a.png", named(tmp_path))
    assert (tmp_path / "a.png").read_bytes()[:4] == b"\x89PNG"


def test_losses_of_different_functions_and_tasks_are_not_in_one_panel(tmp_path):
    made = [
        ("adapt", {}, ["full", "knn"]),
        ("self_mask", {"loss": "swav(prototypes=5)"}, ["untouched", "mask"]),
        ("self_mask", {"loss": "swav(prototypes=9)"}, ["untouched", "mask"]),
        ("cascade", {"loss": "swav(prototypes=9)"}, ["untouched", "dispatcher"]),
        ("self_mask", {"loss": "dino()", "data.classes": [0, 1]}, ["mask"]),
    ]
    for place, (recipe, config, methods) in enumerate(made):
        run = make_adapt(tmp_path / str(place), dict.fromkeys(methods, 0.5), recipe=recipe,
                         config={"data.classes": [1, 2], **config})  # fmt: skip
        for method in {"full", "mask", "dispatcher"} & set(methods):
            add_losses(run / method, [2.0 + place, 1.0 + place])
    found = lines(tmp_path)
    assert {panel: line for (panel, _), line in found.items()} == {
        "classes=[1, 2]: cross-entropy": {1: 2.0, 2: 1.0},
        "classes=[1, 2]: swav": {1: 5.0, 2: 4.0},
        "classes=[0, 1]: dino": {1: 6.0, 2: 5.0},
    }
    assert [name for panel, name in found if panel == "classes=[1, 2]: swav"] == [
        "mask (loss=swav(prototypes=5))",
        "mask (loss=swav(prototypes=9))",
        "dispatcher",
    ]


def test_a_method_with_choices_shows_the_one_it_took(tmp_path):
    tried = {"mask": {0.5: 0.3, 20.0: 0.8}, "full": {0.1: 0.3, 0.2: 0.1}}
    run = make_adapt(tmp_path / "run", {"mask": 0.5, "full": 0.4}, tried=tried, recipe="self_mask")
    for name, losses in (("mask_learning_rate_0.5", [9.0]), ("mask_learning_rate_20.0", [3.0])):
        add_losses(run / "mask" / "choices" / name, losses)
    add_losses(run / "full", [2.0])  # trained anew with its choice
    add_losses(run / "full" / "choices" / "learning_rate_0.1", [7.0])
    assert lines(tmp_path) == {
        ("cross-entropy", "mask"): {1: 3.0},
        ("cross-entropy", "full"): {1: 2.0},
    }


@pytest.mark.parametrize(("settings", "drawn"), [(1, False), (2, True), (12, True), (13, False)])
def test_two_to_twelve_settings_are_drawn(tmp_path, settings, drawn):
    for place in range(settings):
        run = make_adapt(tmp_path / str(place), {"mask": 0.5}, config={"mask.epochs": place})
        add_losses(run / "mask", [100.0, 1.0])
    assert loss_figures.draw(tmp_path / "a.png", named(tmp_path)) == drawn
