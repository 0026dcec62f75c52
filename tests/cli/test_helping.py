"""The help of the commands that take a config: every field, its value, and what it is."""

import re
import shlex

import pytest

from jaxmask.cli import config as configs
from jaxmask.cli.run import main, parse


def shown(capsys, *arguments):
    assert main(arguments) == 0
    told = capsys.readouterr()
    assert told.err == ""
    return told.out


def test_without_a_config_the_configs_are_named(capsys):
    told = shown(capsys, "--help")
    assert told.startswith("usage: jaxmask run --config=CONFIG")
    assert all(name in told for name in configs.names())
    assert "--config.seed" not in told


def test_with_a_config_its_fields_are_shown_with_their_values(capsys):
    told = shown(capsys, "--config=digits", "--help", "--config.seed=3")
    assert re.search(r"--config.seed=3 +of all randomness", told)
    assert re.search(r"--\[no\]config.data.flip=False +flip half", told)
    assert re.search(r"--config.mask.train.mask_learning_rate=50.0 +peak rate of scores", told)
    assert "--config.lora.rank" not in told  # not among the methods
    assert "--verbosity" not in told


@pytest.mark.parametrize("name", ["digits_self", "cascade:digits"])
def test_what_measures_embeddings_is_shown(capsys, name):
    told = shown(capsys, f"--config={name}", "--help")
    for section in ("mask", "knn", "linear_probe"):
        assert f"--config.{section}.choices=" in told
    assert "--config.lora.rank" not in told


def test_what_is_shown_can_be_given(capsys):
    told = shown(capsys, "--config=prune_digits", "--help", "--config.train.epochs=7")
    value = r"(?:\"[^\"\n]*\"|'[^'\n]*'|\w\S*)"
    given = re.findall(rf"^--(?:\[no\])?(config\.[a-z_.]+={value})  ", told, re.M)
    assert len(given) > 40
    arguments = shlex.split(" ".join(f"--{each}" for each in given))
    assert parse(["--config=prune_digits", *arguments])[0].train.epochs == 7


def test_the_full_help_has_all_methods_and_the_flags_of_absl(capsys):
    told = shown(capsys, "--config=digits", "--helpfull")
    assert "--config.lora.rank=4" in told
    assert "--verbosity" in told
    told = shown(capsys, "--helpfull")
    for recipe in ("adapt", "dense", "lottery", "prune"):
        assert f"\nrecipe {recipe}\n" in told
    assert "--config.rewind_step=0" in told


def test_a_mistake_comes_before_the_help(capsys):
    assert main(["--config=digits", "--config.sed=1", "--help"]) == 2
    assert "did you mean 'seed'" in capsys.readouterr().err


@pytest.mark.parametrize("name", configs.names())
def test_every_packaged_config_has_a_line(name):
    from jaxmask.cli.columns import docstring_line

    path = configs.CONFIGS / f"{name}.py"
    assert docstring_line(path).endswith((".", "?"))
    for mode in configs.modes(path):
        configs.load(path, mode)
