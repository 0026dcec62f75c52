"""The methods of `adapt` runs in the place of the runs, and the fields that matter for each."""

import json

import pytest
from finished_runs import make_adapt, make_dense

from jaxmask.errors import InputError
from jaxmask.report import find, methods
from jaxmask.report.collect import collect


def expanded(*folders):
    return methods.expand(*find.find(folders))


def test_a_run_without_its_methods_is_named(tmp_path):
    run = make_adapt(tmp_path / "run", {"full": 0.5, "mask": 0.6})
    (run / "mask" / "result.json").unlink()
    with pytest.raises(InputError, match=r"run is a run of 'adapt', but mask/result\.json"):
        collect([run])


def test_a_run_of_adapt_is_its_methods_and_other_runs_are_themselves(tmp_path):
    run = make_adapt(tmp_path / "a", {"full": 0.5, "mask": 0.6})
    dense = make_dense(tmp_path / "b", 0.9)
    assert expanded(tmp_path) == ([run / "full", run / "mask", dense], {})
    assert expanded(run / "mask", run)[0] == [run / "mask", run / "full"]


@pytest.mark.parametrize("recipe", ["self_mask", "cascade"])
def test_a_run_without_labels_is_its_networks(tmp_path, recipe):
    names = {"untouched": 0.4, "long": 0.5, "mask": 0.6}
    run = make_adapt(tmp_path / "run", names, recipe=recipe)
    assert expanded(tmp_path) == ([run / name for name in names], {})
    assert collect([tmp_path])["recipe"].tolist() == [recipe] * 3
    (run / "long" / "result.json").unlink()
    with pytest.raises(InputError, match=rf"a run of '{recipe}', but long/result\.json is missing"):
        expanded(run)


@pytest.mark.parametrize(
    ("recipe", "found"),
    [
        ("self_mask", ["untouched", "mask"]),
        ("cascade", ["untouched", "dispatcher", "conditional", "random", "mask"]),
    ],
)
def test_networks_that_an_unfinished_run_does_not_name_are_found(tmp_path, recipe, found):
    names = {"untouched": 0.4, "mask": 0.6, "full": None, "dispatcher": 0.5, "conditional": 0.5,
             "random": 0.3, "other": 0.1}  # fmt: skip
    run = make_adapt(tmp_path / "run", names, recipe=recipe, finished=False)
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps({**config, "methods": ["mask", "full"]}))
    assert expanded(tmp_path)[0] == [run / name for name in found]


def test_choices_are_left_out_also_where_they_are_given(tmp_path):
    run = make_adapt(tmp_path / "a", {"mask": 0.6}, tried={"mask": {0.1: 0.5, 1.0: 0.8}})
    assert expanded(*(run / "mask" / "choices").iterdir()) == ([], {})


def test_finished_methods_of_an_unfinished_run_are_found_and_told(tmp_path):
    run = make_adapt(tmp_path / "a", {"full": 0.5, "mask": None}, finished=False)
    begun = tmp_path / "b"
    begun.mkdir()
    for text in ("{", '{"recipe": "adapt", "methods": 3}', '{"recipe": "adapt", "methods": [3]}'):
        (begun / "config.json").write_text(text)
        found, told = expanded(tmp_path)
        assert found == [run / "full"]
        assert told == {run: " (except its finished methods: full)", begun: ""}


CONFIG = {
    "seed": 0, "methods": "[]", "grid": "[]", "together": 2, "data.share": 1.0,
    "mask.choices": "[1]", "mask.stages": 0, "mask_topk.choices": "[1]", "mask_topk.density": 0.5,
    "full.choices": "[1]", "full.train.epochs": 3, "pretrain.train.epochs": 5,
}  # fmt: skip


@pytest.mark.parametrize(
    ("method", "changes", "own"),
    [
        ("full", {}, {"full"}),
        ("mask", {}, {"mask"}),
        ("mask_topk", {}, {"mask_topk"}),
        ("mask_topk", {"mask_topk.density": 0.0}, {"mask_topk", "mask"}),
    ],
)
def test_the_fields_of_other_methods_do_not_matter(method, changes, own):
    found = methods.own_fields({**CONFIG, **changes}, method)
    shared = {"seed", "data", "pretrain"}
    assert {name.partition(".")[0] for name in found} == own | shared
    assert found == {name: value for name, value in {**CONFIG, **changes}.items()
                     if name.partition(".")[0] in own | shared}  # fmt: skip


@pytest.mark.parametrize(
    ("recipe", "method", "own"),
    [
        ("self_mask", "mask", {"mask", "loss", "views"}),
        ("self_mask", "full", {"full", "loss", "views"}),
        ("self_mask", "untouched", set()),
        ("cascade", "conditional", {"mask_topk", "method", "loss", "views", "router"}),
        ("cascade", "dispatcher", {"mask_topk", "method", "loss", "views"}),
        ("cascade", "untouched", set()),
    ],
)
def test_classifiers_measure_every_network_and_an_untouched_one_learns_nothing(recipe, method, own):
    more = {"recipe": recipe, "loss": "swav()", "views.small": 6, "knn.choices": "[1]",
            "knn.temperature": 0.1, "linear_probe.choices": "[1]", "start": "pretrain"}  # fmt: skip
    config = {**CONFIG, **more}
    if recipe == "cascade":
        config |= {"method": "mask_topk", "router": "kmeans()", "controls": "[]",
                   "experts_together": 3}  # fmt: skip
    shared = {"recipe", "seed", "data", "pretrain", "start", "knn", "linear_probe"}
    assert methods.own_fields(config, method) == {
        name: value for name, value in config.items() if name.partition(".")[0] in own | shared
    }
    assert "knn" not in {
        name.partition(".")[0] for name in methods.own_fields({**config, "recipe": "adapt"}, "mask")
    }


@pytest.mark.parametrize(
    ("recipe", "method", "section"),
    [
        ("adapt", "full", "full"),
        ("self_mask", "mask", "mask"),
        ("cascade", "dispatcher", "mask_topk"),
        ("cascade", "long", "mask_topk"),
        ("cascade", "unconditional", ""),
        ("cascade", "untouched", ""),
    ],
)
def test_the_section_that_trains_a_method(recipe, method, section):
    assert methods.section_of({"recipe": recipe, "method": "mask_topk"}, method) == section
