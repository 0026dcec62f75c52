"""A grid of `adapt` runs under `vmap` gives the same as separate runs."""

import json

import pytest

from jaxmask import recipe
from jaxmask.recipe import defaults
from jaxmask.run import driver
from jaxmask.train import loop


def config(seed):
    made = defaults.adapt("digits", epochs=2)
    made.seed = seed
    made.network.name, made.network.width = "lenet_300_100", 0.1
    made.start = "random"
    made.data.classes, made.data.validation = (5, 6, 7), 0.2
    made.data.mean, made.data.std = (0.3,), (0.4,)
    made.methods = ("full", "mask", "mask_topk")
    made.full.choices = (0.05,)
    made.mask.choices, made.mask_topk.choices = (0.02,), (20.0,)
    made.mask_topk.density = 0.0  # the one that `mask` found, different for each seed
    return made


@pytest.fixture(scope="module")
def both(tmp_path_factory, without_figures):
    """The results of two seeds, alone and together; the number of runs in each training."""
    folder, widths = tmp_path_factory.mktemp("grid"), []
    alone = [recipe.run(config(seed), folder / "alone" / str(seed)) for seed in (0, 1)]
    whole = loop.fit_together

    def watched(programs, jobs):
        widths.append(len(jobs))
        return whole(programs, jobs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "fit_together", watched)
        begun = [recipe.prepare(config(seed))(folder / "both" / str(seed), None) for seed in (0, 1)]
        together = driver.together(begun)
    return folder, alone, together, widths


def test_every_training_of_both_runs_is_one_under_vmap(both):
    """Three methods; the density of `mask_topk` differs between the runs."""
    _, _, _, widths = both
    assert widths == [2] * 3


def test_results_are_those_of_one_run_after_the_other(both):
    _, alone, together, _ = both
    for one, other in zip(alone, together):
        assert one.more["runs"] == other.more["runs"]
        for name, found in one.more["methods"].items():
            same = other.more["methods"][name]
            assert found["accuracy"] == pytest.approx(same["accuracy"], abs=0.06), name
            assert found["density"] == pytest.approx(same["density"], abs=0.02), name
    assert alone[0].more["methods"] != alone[1].more["methods"]


def test_run_directories_are_complete(both):
    folder, _, _, _ = both
    for seed in "01":
        for name in ("full", "mask", "mask_topk"):
            path = folder / "both" / seed / name
            assert json.loads((path / "result.json").read_text())["steps"] > 0
            assert (path / "masks" / "task.mask").exists()
            assert (path / "metrics.jsonl").exists()
