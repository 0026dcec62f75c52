"""The fields of configs: what all recipes have, and that no two configs share a section."""

import pytest

from jaxmask import adapter
from jaxmask.errors import InputError
from jaxmask.recipe import FIELDS, prepare
from jaxmask.run import defaults, trainer
from jaxmask.train.optimizer import RATES

RECIPES = ("dense", "prune", "lottery", "learn_scores", "adapt")


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_names_itself_and_has_a_seed_a_network_and_data(recipe):
    made = getattr(defaults, recipe)("digits", 7)
    assert made.recipe == recipe
    assert made.data.name == "digits"
    assert {"seed", "network", "compilation_cache", "start"} <= set(made.keys())
    assert set(made.keys()) == set(FIELDS[recipe].keys())


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_defaults_of_training_can_be_used(recipe):
    made = getattr(defaults, recipe)("digits", 7)
    sections = [made.train] if "train" in made else [made[name].train for name in adapter.METHODS]
    for section in sections:
        trainer.check_training(section, "train")
        assert section.epochs == 7
        assert set(RATES) <= set(section.keys())


def test_two_configs_and_two_sections_of_one_share_nothing():
    one, other = defaults.adapt("digits", 1), defaults.adapt("digits", 1)
    one.full.train.epochs = 5
    one.data.flip = True
    assert other.full.train.epochs == 1
    assert other.data.flip is False
    assert one.mask.train.epochs == one.pretrain.train.epochs == 1
    assert one.pretrain.data.flip is False
    one.network.name = "conv2"
    assert defaults.dense("digits", 1).network.name == "lenet_300_100"


def test_a_lottery_is_a_pruning_with_rounds():
    prune, lottery = defaults.prune("digits", 3, 0.5), defaults.lottery("digits", 3, 0.5)
    more = {"rounds", "round_schedule", "rewind_step"}
    assert set(lottery.keys()) == set(prune.keys()) | more
    assert lottery.train == prune.train
    assert prune.train.learning_rate == 0.5
    assert lottery.criterion == "magnitude"


def test_a_comparison_has_a_section_for_every_method_with_its_fields_and_choices():
    made = defaults.adapt("digits", 2)
    for name, method in adapter.METHODS.items():
        assert set(made[name].keys()) == {"train", *method.defaults}
        assert made[name].tune in RATES
        assert len(made[name].choices) == 4
    for name, evaluator in adapter.EVALUATORS.items():
        assert set(made[name].keys()) == set(evaluator.defaults)
        assert len(made[name].choices) == 4  # equal budgets
    assert set(made.methods) <= adapter.METHODS.keys() | adapter.EVALUATORS.keys()


def test_names_of_earlier_versions_are_fields_now():
    fields = set(defaults.train(1).keys())
    assert set(defaults.RENAMED.values()) <= fields
    assert not defaults.RENAMED.keys() & fields


@pytest.mark.parametrize("old", ["train.optimiser", "train.mask_optimiser"])
def test_a_field_of_an_earlier_version_in_a_config_is_refused_with_its_new_name(old):
    config = defaults.dense("digits", 1)
    config.train[old.partition(".")[2]] = "sgd"
    with pytest.raises(InputError, match=f"config.{old} is called config.{old[:-3]}zer now"):
        prepare(config)
