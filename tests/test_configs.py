"""Packaged configs: every point of every grid is a config that its recipe takes."""

import pytest
import yaml

from jaxmask import recipe
from jaxmask.cli import config as configs
from jaxmask.cli.sweep import expand
from jaxmask.run import defaults

MODES = [
    (name, mode)
    for name in configs.names()
    for mode in configs.modes(configs.CONFIGS / f"{name}.py") or ("",)
]


def points(name, mode):
    """The runs of a mode, of one seed where a grid has several."""
    config = configs.load(configs.CONFIGS / f"{name}.py", mode)
    runs = list(expand(config).values()) if config.get("grid", ()) else [config]
    return [run for run in runs if run.seed == runs[0].seed]


def enough(runs):
    """Those that have a value of a field that none before has."""
    seen = set()
    for run in runs:
        values = set(yaml.safe_dump(run.to_dict(), width=10**6).splitlines())
        if values - seen:
            yield run
        seen |= values


@pytest.mark.parametrize(("name", "mode"), MODES)
def test_every_run_of_a_mode_has_the_fields_of_its_recipe(name, mode):
    for run in points(name, mode):
        defaults.check(run, recipe.FIELDS[run.recipe])


@pytest.mark.parametrize(
    ("name", "mode"),
    [pair for pair in MODES if pair[0] not in ("folder", "mask_study", "photographs", "texts")],
)
def test_what_was_published_keeps_its_rates_and_optimizer_of_masks(name, mode):
    """Their numbers are of plain SGD, whose rates count in units of the gradient."""

    def masks(config):
        for field, value in config.items():
            if field == "mask":
                yield value
            elif hasattr(value, "items") and value.get("shares", True):  # few_labels, if used
                yield from masks(value)

    for run in points(name, mode):
        used = (*run.get("methods", ()), run.get("method"), *run.get("few_labels", {}))
        for section in masks(run) if "mask" in used else ():
            assert section.train.mask_optimizer == "sgd(momentum=0.9)"
            assert section.train.mask_learning_rate >= 1
            assert min(section.choices) >= 1


@pytest.mark.parametrize(
    ("name", "mode"),
    [pair for pair in MODES
     if pair[0] in ("self_mask", "digits_self", "equivalent", "trainable_scores")
     and pair[1] not in ("resnet50_dino", "resnet50_timm")],  # as resnet50_swav
)  # fmt: skip
def test_every_value_of_a_mode_is_accepted_by_its_recipe(name, mode):
    """With digits in place of data and weights that are not here."""
    for run in list(enough(points(name, mode))):
        run.data.name, run.data.share, run.data.validation = "digits", 1.0, 0.2
        run.data.mean = run.data.std = ()
        run.data.decode_size, run.data.size = 0, 32
        run.data.classes = run.pretrain.data.classes = ()
        run.start = "random"
        if name == "self_mask":  # smaller shares of digits have not an image of each class
            run.few_labels.shares = tuple(share for share in run.few_labels.shares if share > 0.01)
        trained = [method for method in run.methods if method != "linear_probe"]
        assert len(recipe.prepare(run).planned) >= len(trained)
