"""Masks learned without labels, on real digits."""

import json

import numpy as np
import pytest

from jaxmask import adapter, data, recipe, task
from jaxmask.cli.run import main, parse
from jaxmask.errors import InputError
from jaxmask.run import learning
from jaxmask.train.records import read_records

pytestmark = pytest.mark.usefixtures("shallow_resnet", "without_figures")
QUICK = [
    "--config=digits_self", "--config.network.width=0.25", "--config.pretrain.train.epochs=2",
    "--config.mask.train.epochs=4", "--config.methods=mask",
    "--config.loss=swav(prototypes=10, queue=64, dimension=16)", "--config.views.small=2",
    "--config.watch_epochs=2", "--config.knn.choices=(10, 50)",
    "--config.linear_probe.choices=(0.001, 0.01)", "--config.mask.choices=20.0",
]  # fmt: skip


def read(folder):
    return json.loads((folder / "result.json").read_text())


@pytest.fixture(scope="module")
def learned(tmp_path_factory, shallow_resnet, without_figures):
    folder = tmp_path_factory.mktemp("self_mask") / "run"
    assert main([*QUICK, f"--workdir={folder}"]) == 0
    return folder


def test_every_network_is_measured_by_both_classifiers(learned):
    result = read(learned)
    assert list(result["methods"]) == ["untouched", "mask"]
    assert result["runs"] == ["pretrain", "untouched", "mask"]
    for name in result["methods"]:
        own = read(learned / name)
        assert own["accuracy"] == read(learned / name / "linear_probe")["accuracy"]
        assert own["knn_accuracy"] == read(learned / name / "knn")["accuracy"]
        assert own["accuracy"] > 0.5
    assert (learned / "table.md").read_text().count("\n") == 4


def test_a_mask_is_found_and_measured_on_the_way(learned):
    own = read(learned / "mask")
    assert 0 < own["density"] < 1
    records = read_records(learned / "mask")
    watched = [line for line in records if line["split"] == "watched"]
    assert [line["epoch"] for line in watched] == [2, 4]
    assert watched[-1]["knn_accuracy"] == own["watched_accuracy"]
    trained = [line for line in records if line["split"] == "train"]
    assert trained[-1]["loss"] < trained[0]["loss"]
    assert all(0 < line["prototypes_used"] <= 1 and line["spread"] > 0 for line in trained)


def test_the_file_is_the_task_with_the_probe_as_its_head(learned):
    loaded = task.load(learned / "mask", base=learned / "pretrain")
    digits = data.load("digits", classes=(5, 6, 7, 8, 9))
    found = np.asarray(loaded.logits(loaded.variables, digits.test.images)).argmax(-1)
    accuracy = (found == digits.test.labels).mean()
    assert abs(accuracy - read(learned / "mask")["accuracy"]) <= 1.5 / len(found)


def test_the_adapted_network_is_a_start_for_other_runs(learned, tmp_path):
    start = f"--config.start={learned / 'mask'}"
    given = ["--config=digits", "--config.network.name=resnet20", "--config.network.width=0.25",
             "--config.methods=('linear_probe',)", "--config.linear_probe.choices=(0.001, 0.01)",
             start, f"--workdir={tmp_path / 'run'}"]  # fmt: skip
    assert main(given) == 0
    probe = read(tmp_path / "run")["methods"]["linear_probe"]["accuracy"]
    assert abs(probe - read(learned / "mask")["accuracy"]) < 0.05


def test_a_mask_of_the_density_that_mask_found(learned, tmp_path):
    """By `mask_topk`, falling to it."""
    fields = ("methods", "loss", "views", "knn", "linear_probe")
    replaced = tuple(f"--config.{field}" for field in fields)
    quick = [each for each in QUICK if not each.startswith(replaced)]
    folder = tmp_path / "run"
    given = [*quick, "--config.methods=('mask', 'mask_topk')", "--config.watch_epochs=2",
             "--config.loss=simclr(dimension=8)", "--config.views.small=0",
             "--config.knn.choices=10", "--config.linear_probe.choices=0.01",
             "--config.mask.train.epochs=2", "--config.mask_topk.train.epochs=2",
             "--config.mask_topk.train.select=last", "--config.mask_topk.choices=1.0",
             "--config.mask_topk.density=0.0", "--config.mask_topk.falling_epochs=1.5",
             f"--config.start={learned / 'pretrain'}", f"--workdir={folder}"]  # fmt: skip
    assert main(given) == 0
    free, exact = (read(folder / name) for name in ("mask", "mask_topk"))
    assert 0 < free["density"] < 1
    apart = abs(exact["density"] - free["density"]) * exact["mask_bits"]
    assert apart <= len(exact["density_by_leaf"])
    assert exact["trained_numbers"] == free["trained_numbers"]
    lines = read_records(folder / "mask_topk")
    during = [line["density"] for line in lines if line["split"] == "train"]
    assert during[0] > during[1]
    assert during[1] == pytest.approx(exact["density"], abs=1e-6)


def test_a_finished_run_is_only_shown(learned, capsys):
    before = (learned / "mask" / "masks" / "task.mask").read_bytes()
    assert main([*QUICK, f"--workdir={learned}"]) == 0
    assert "untouched" in capsys.readouterr().out
    assert (learned / "mask" / "masks" / "task.mask").read_bytes() == before


def test_a_collapse_ends_the_run_with_advice(learned, tmp_path, capsys):
    given = [*QUICK, "--config.least_spread=2.0",
             f"--config.start={learned / 'pretrain'}", f"--workdir={tmp_path / 'run'}"]  # fmt: skip
    assert main(given) == 2
    told = capsys.readouterr().err.splitlines()[-1]
    assert told.startswith("jaxmask: mask, after 8 steps: the embeddings have collapsed")
    assert "lower the rates" in told
    assert not (tmp_path / "run" / "result.json").exists()


def test_a_choice_that_collapses_is_not_chosen(learned, tmp_path, monkeypatch):
    """The first of two; it would have won."""
    folder, collapsed = tmp_path / "run", []
    fault = learning._fault

    def first(at, values):
        if not collapsed and "spread" in values:
            collapsed.append(values)
            return "the embeddings have collapsed"
        return fault(at, values)

    monkeypatch.setattr(learning, "_fault", first)
    given = [*QUICK, "--config.mask.choices=(20.0, 0.01)", f"--config.start={learned / 'pretrain'}"]
    assert main([*given, f"--workdir={folder}"]) == 0
    own = read(folder / "mask")
    assert own["mask_learning_rate"] == 0.01
    tried = {each["value"]: each["validation_accuracy"] for each in own["choices"]}
    assert tried[20.0] is None
    assert tried[0.01] == own["watched_accuracy"]


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"spread": 0.001}, "to a point"),
        ({"spread": 0.9, "dimensions": 1.05}, "onto a line"),
        ({"spread": 0.9, "dimensions": 4.0, "prototypes_used": 0.1}, "onto a single prototype"),
        ({"spread": 0.9, "dimensions": 4.0, "prototypes_used": 0.2}, ""),
        ({}, ""),
    ],
)
def test_each_kind_of_collapse_is_named(values, told):
    config, _ = parse(QUICK)
    task, _, _ = recipe.self_mask.set_up(config)
    at = learning.learning("mask", adapter.METHODS["mask"], task, config)  # of ten prototypes
    found = learning._fault(at, values)
    assert told in found
    assert bool(found) == bool(told)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("loss=swaf()", "did you mean 'swav'"),
        ("loss=swav(prototypes=0)", "prototypes"),
        ("views.small_scale=(0.5,)", "small_scale"),
        ("views.blur=2.0", "blur"),
        ("methods=('knn',)", "unknown method 'knn'"),
        ("methods=()", "name methods"),
        ("mask.choices=()", "mask.choices is empty"),
        ("methods=('mask_topk',)", "name 'mask' before it"),
        ("methods=('mask_topk', 'mask')", "name 'mask' before it"),
        ("watch_epochs=0", "watch_epochs"),
        ("adversarial_step=-1.0", "adversarial_step"),
        ("data.validation=0.0", "set data.validation above 0"),
        ("network.name=conv3", "no network"),
    ],
)
def test_an_invalid_config_is_refused(override, message, tmp_path):
    config, _ = parse(["--config=digits_self", "--config.mask_topk.density=0.0",
                       f"--config.{override}"])  # fmt: skip
    with pytest.raises(InputError, match=message):
        recipe.prepare(config)


def test_a_report_compares_the_networks_by_either_measure(learned, tmp_path, capsys):
    from jaxmask.cli import report

    for metric, field in (("accuracy", "accuracy"), ("knn_accuracy", "knn_accuracy")):
        out = tmp_path / metric
        assert report.main([str(learned), f"--out={out}", f"--metric={metric}"]) == 0
        shown = capsys.readouterr().out
        for name in ("untouched", "mask"):
            assert f"{100 * read(learned / name)[field]:.2f}" in shown


def test_a_mask_over_random_weights_keeps_them(tmp_path):
    given = [*QUICK, "--config.start=random", "--config.mask.train.epochs=1",
             "--config.watch_epochs=1", f"--workdir={tmp_path / 'run'}"]  # fmt: skip
    assert main(given) == 0
    loaded = task.load(tmp_path / "run" / "mask")  # finds its base
    digits = data.load("digits", classes=(5, 6, 7, 8, 9))
    found = np.asarray(loaded.logits(loaded.variables, digits.test.images)).argmax(-1)
    accuracy = (found == digits.test.labels).mean()
    assert abs(accuracy - read(tmp_path / "run" / "mask")["accuracy"]) <= 1.5 / len(found)
