"""Every field has a default and a line on what it is."""

import pytest

from jaxmask.adapter import EVALUATORS, METHODS
from jaxmask.cli.config import fields as named
from jaxmask.recipe import FIELDS
from jaxmask.run import fields


@pytest.mark.parametrize("recipe", FIELDS)
def test_every_field_of_a_recipe_is_explained(recipe):
    unexplained = [
        name for name, _ in named(FIELDS[recipe]) if not fields.about(recipe, name).strip()
    ]
    assert unexplained == []


def test_every_line_is_of_a_field():
    used = {name.rpartition(".")[2] for each in FIELDS.values() for name, _ in named(each)}
    assert set(fields.METHOD) <= used
    methods = {name for each in (*METHODS.values(), *EVALUATORS.values()) for name in each.defaults}
    assert methods == set(fields.METHOD)


@pytest.mark.parametrize("name", ["grid", "together"])
def test_a_sweeps_fields_are_explained(name):
    assert fields.about("prune", name)


def test_a_field_of_the_user_is_not_explained():
    assert fields.about("prune", "mine") == fields.about("adapt", "mine.own") == ""


def test_what_is_given_replaces_a_default_and_tables_share_nothing():
    one, other = fields.filled(fields.PRUNE, density=0.5), fields.filled(fields.PRUNE)
    one.scoring.batch_size = 7
    assert (one.density, other.density, other.scoring.batch_size) == (0.5, 0.1, 256)


def test_every_method_says_what_it_is():
    for name, each in {**METHODS, **EVALUATORS}.items():
        assert each.about, name
