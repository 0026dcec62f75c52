"""Density by layer: self-supervised masks against supervised ones, over datasets."""

import numpy as np
import pytest
from finished_runs import make_adapt

from jaxmask.report import adaptation, layer_figures
from jaxmask.report.collect import collect

LAYERS = ("layer2/kernel", "layer10/kernel")


def add(folder, recipe, dataset, densities, seed=0, leaves=LAYERS, **config):
    method = "dispatcher" if recipe == "cascade" else "mask"
    fields = {name.replace("__", "."): value for name, value in config.items()}
    make_adapt(folder / f"{len(list(folder.glob('*')))}", {method: 0.5}, seed, recipe=recipe,
               dataset=dataset, density_by_leaf=dict(zip(leaves, densities)),
               config=fields)  # fmt: skip


def named(folder):
    return adaptation.named(collect([folder]))


def lines(folder):
    table = layer_figures.densities(named(folder))
    assert set(table["leaf"]) <= set(LAYERS)
    return {
        key: (line["leaf"].tolist(), line["mean"].tolist(), line["std"].tolist(),
              line["datasets"].tolist())
        for key, line in table.groupby(["kind", "method"], sort=False)
    }  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "runs"
    made.mkdir()
    return made


def test_mean_and_deviation_over_datasets_of_means_over_seeds(folder):
    for seed in range(2):
        add(folder, "self_mask", "birds", [0.5 + 0.1 * seed, 0.9], seed)
        add(folder, "adapt", "birds", [0.7, 0.8], seed)
    add(folder, "self_mask", "cars", [0.3, 0.7])
    add(folder, "adapt", "cars", [0.9, 0.6])
    add(folder, "adapt", "flowers", [0.1, 0.1])  # nothing to compare it with
    found = lines(folder)
    assert len(found) == 2
    kinds = {kind: line for (kind, _), line in found.items()}
    for kind, values in (
        ("self-supervised", [[0.55, 0.3], [0.9, 0.7]]),
        ("supervised", [[0.7, 0.9], [0.8, 0.6]]),
    ):
        leaves, means, deviations, datasets = kinds[kind]
        assert leaves == list(LAYERS)  # 2 before 10
        assert means == pytest.approx(np.mean(values, 1))
        assert deviations == pytest.approx(np.std(values, 1, ddof=1))
        assert datasets == [2, 2]
    assert layer_figures.draw(folder / "a.png", named(folder))
    assert (folder / "a.png").read_bytes()[:4] == b"\x89PNG"


def test_classes_make_a_dataset_and_each_setting_is_a_line(folder):
    for classes in ([0, 1], [2, 3], [4, 5]):
        add(folder, "adapt", "digits", [0.8, 0.8], data__classes=classes)
        if classes != [4, 5]:
            add(folder, "cascade", "digits", [0.4, 0.4], data__classes=classes)
            for loss in ("swav()", "dino()")[: 1 + (classes == [0, 1])]:
                density = len(loss) / 10 + classes[0] / 100
                add(folder, "self_mask", "digits", [density] * 2, data__classes=classes, loss=loss)
    found = lines(folder)
    assert [(kind, line[1][0], line[3][0]) for (kind, _), line in found.items()] == [
        ("self-supervised", 0.4, 2),  # the dispatcher
        ("self-supervised", 0.6, 1),
        ("self-supervised", pytest.approx(0.61), 2),
        ("supervised", 0.8, 2),
    ]


def test_restricted_masks_and_shares_of_the_labels_do_not_count(folder):
    add(folder, "self_mask", "digits", [0.5, 0.5])
    add(folder, "adapt", "digits", [0.8, 0.6])
    before = [line[1] for line in lines(folder).values()]
    add(folder, "adapt", "digits", [0.1, 0.1], mask__trainable_share=0.1)
    add(folder, "adapt", "digits", [0.2, 0.2], data__share=0.1)
    assert [line[1] for line in lines(folder).values()] == before == [[0.5, 0.5], [0.8, 0.6]]


def test_a_dispatcher_counts_if_it_learned_a_mask_of_this_kind(folder):
    add(folder, "adapt", "digits", [0.8, 0.6])
    add(folder, "cascade", "digits", [0.5, 0.5], method="mask_topk")
    assert lines(folder) == {}
    add(folder, "cascade", "digits", [0.4, 0.3], method="mask")
    assert [line[1] for line in lines(folder).values()] == [[0.4, 0.3], [0.8, 0.6]]


def test_only_masks_of_the_same_layers_of_one_network_are_compared(folder):
    add(folder, "self_mask", "digits", [0.5, 0.5])
    assert not layer_figures.draw(folder / "a.png", named(folder))
    add(folder, "adapt", "digits", [0.5], leaves=LAYERS[:1])  # by stages
    add(folder, "adapt", "digits", [0.5, 0.5], network__width=2.0)
    add(folder, "adapt", "cars", [0.5, 0.5])
    assert lines(folder) == {}
    assert not layer_figures.draw(folder / "a.png", named(folder))
