"""Accuracy against the number of trainable scores."""

import numpy as np
import pytest
from finished_runs import add_mask, make_adapt

from jaxmask.errors import InputError
from jaxmask.report import adaptation, restriction_figures
from jaxmask.report.collect import collect

SHAPES = {"a/kernel": (3, 3, 1, 5), "b/kernel": (10, 7), "c/kernel": (7, 3)}
SIZES = [45, 70, 21]


def add(folder, accuracy, seed=0, stages=0, share=1.0, by="random", start="pretrain", **config):
    fields = {"mask.stages": stages, "mask.trainable_share": share, "mask.trainable_by": by,
              "start": start}  # fmt: skip
    fields |= {name.replace("__", "."): value for name, value in config.items()}
    place = folder / f"{len(list(folder.iterdir())):03}"
    run = make_adapt(place, {"mask": accuracy, "full": 0.99}, seed, config=fields)
    add_mask(run / "mask", dict(list(SHAPES.items())[: stages or None]))
    return run / "mask"


def named(folder):
    return adaptation.named(collect([folder]))


def lines(folder, metric="accuracy"):
    table = restriction_figures.lines(named(folder), metric)
    if table.empty:
        return {}
    return {
        key: list(zip(line["scores"], line["mean"]))
        for key, line in table.groupby(["setting", "by", "random"], sort=False)
    }


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "runs"
    made.mkdir()
    return made


@pytest.mark.parametrize(
    ("share", "count"),
    [(1.0, 136), (0.5, 23 + 35 + 11), (0.1, 5 + 7 + 3), (0.001, 3), (0.29, 14 + 21 + 7)],
)
def test_the_count_is_that_of_each_leaf_rounded_up(tmp_path, share, count):
    add_mask(tmp_path, SHAPES)
    exact = [size - (1000 - round(1000 * share)) * size // 1000 for size in SIZES]
    assert restriction_figures.trainable_scores(tmp_path, share) == sum(exact) == count


def test_each_way_of_restricting_is_a_line_that_ends_at_all_scores(folder):
    for start in ("pretrain", "random"):
        lower = 0.3 * (start == "random")
        add(folder, 0.9 - lower, start=start)
        for stages in (1, 2):
            add(folder, 0.5 + 0.1 * stages - lower, stages=stages, start=start)
        for by in ("random", "magnitude"):
            add(folder, 0.8 - lower - 0.1 * (by == "random"), share=0.1, by=by, start=start)
    found = lines(folder)
    close = lambda *pairs: [(count, pytest.approx(value)) for count, value in pairs]  # noqa: E731
    assert found == {
        ("mask", "by stages", False): close((45, 0.6), (115, 0.7), (136, 0.9)),
        ("mask", "random share", False): close((15, 0.7), (136, 0.9)),
        ("mask", "largest weights", False): close((15, 0.8), (136, 0.9)),
        ("mask", "by stages", True): close((45, 0.3), (115, 0.4), (136, 0.6)),
        ("mask", "random share", True): close((15, 0.4), (136, 0.6)),
        ("mask", "largest weights", True): close((15, 0.5), (136, 0.6)),
    }
    assert restriction_figures.draw(folder / "a.png", named(folder), "accuracy")
    assert (folder / "a.png").read_bytes()[:4] == b"\x89PNG"


def test_points_are_means_over_seeds_and_other_settings_have_their_own_lines(folder):
    values = {}
    for epochs in (5, 50):
        for seed in range(3):
            for share in (0.1, 1.0):
                value = values[epochs, seed, share] = 0.5 + 0.01 * seed + share / 4 + epochs / 500
                add(folder, value, seed, share=share, mask__epochs=epochs)
    found = lines(folder)
    assert list(found) == [(f"mask, epochs={epochs}", "random share", False) for epochs in (5, 50)]
    for epochs, line in zip((5, 50), found.values()):
        assert line == [
            (count, pytest.approx(np.mean([values[epochs, seed, share] for seed in range(3)])))
            for count, share in ((15, 0.1), (136, 1.0))
        ]
    table = restriction_figures.lines(named(folder))
    assert table["std"].tolist() == pytest.approx([0.01] * 4)


def test_a_rate_that_was_chosen_for_a_share_is_no_setting(folder):
    for share, rate in ((0.1, 5.0), (1.0, 50.0)):
        add(folder, share / 2, share=share, mask__choices=[rate])
    assert lines(folder) == {("mask", "random share", False): [(15, 0.05), (136, 0.5)]}


def test_a_share_of_some_stages_is_neither_line(folder):
    add(folder, 0.9)
    add(folder, 0.6, stages=2, share=0.5)
    assert list(lines(folder)) == [("mask", "random share of stages 1 to 2", False)]


def test_each_task_has_a_panel(folder):
    for classes in ([0, 1], [2, 3]):
        for share in (0.5, 1.0):
            add(folder, share, share=share, data__classes=classes)
    table = restriction_figures.lines(named(folder))
    assert table["task"].tolist() == ["classes=[0, 1]"] * 2 + ["classes=[2, 3]"] * 2


def test_nothing_is_drawn_without_two_numbers_of_scores(folder):
    for seed in range(2):
        add(folder, 0.9, seed)
        add(folder, 0.5, seed, start="random")
    assert lines(folder) == {}
    assert not restriction_figures.draw(folder / "a.png", named(folder), "accuracy")


def test_a_damaged_mask_is_named(folder):
    add(folder, 0.9)
    place = add(folder, 0.8, share=0.1) / "masks" / "task.mask"
    place.write_bytes(place.read_bytes()[:-9])
    with pytest.raises(InputError, match=r"001/mask/masks/task\.mask"):
        lines(folder)


def test_a_dispatcher_is_restricted_by_the_section_of_its_method(folder):
    for stages in (0, 2):
        config = {"method": "mask", "mask.stages": stages, "mask.trainable_share": 1.0}
        made = {"dispatcher": 0.5 + stages, "conditional": 0.9}
        run = make_adapt(folder / str(stages), made, recipe="cascade", config=config)
        for name, count in (("dispatcher", stages or None), ("conditional", None)):
            add_mask(run / name, dict(list(SHAPES.items())[:count]))
    assert lines(folder) == {("dispatcher", "by stages", True): [(115, 2.5), (136, 0.5)]}
