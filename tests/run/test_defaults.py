import pytest

from jaxmask import recipe
from jaxmask.errors import InputError
from jaxmask.run import defaults


@pytest.mark.parametrize("old", ["train.optimiser", "train.mask_optimiser"])
def test_a_field_of_an_earlier_version_in_a_config_is_refused_with_its_new_name(old):
    config = defaults.dense("digits", 1)
    config.train[old.partition(".")[2]] = "sgd"
    with pytest.raises(InputError, match=f"config.{old} is called config.{old[:-3]}zer now"):
        recipe.prepare(config)


@pytest.mark.parametrize("name", sorted(recipe.RECIPES))
def test_every_recipe_has_the_fields_of_all(name):
    config = getattr(defaults, name)("digits", 1)
    assert set(defaults.experiment(name).keys()) <= set(config.keys())
    assert config.recipe == name
