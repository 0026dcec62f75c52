"""Values that no field can have end in one line while a config is checked, in every recipe.

Each field of each recipe gets some of them; nothing is trained.
"""

import random
import re

import pytest

from jaxmask import recipe
from jaxmask.adapter import METHODS
from jaxmask.cli.config import fields
from jaxmask.cli.run import main, parse
from jaxmask.errors import InputError
from jaxmask.run import defaults

DENSE = """
from jaxmask.recipe import defaults

def get_config():
  return defaults.dense("digits", 2)
"""
RECIPES = {
    "adapt": ["--config=digits", "--config.start=random",
              "--config.methods=('knn', 'mask_topk')"],
    "dense": [],
    "learn_scores": ["--config=learn_scores:digits"],
    "lottery": ["--config=prune_digits", "--config.recipe=lottery",
                "--config.criterion=magnitude"],
    "prune": ["--config=prune_digits"],
    "self_mask": ["--config=digits_self", "--config.start=random", "--config.methods=mask",
                  "--config.network.name=lenet_300_100"],
    "tickets": ["--config=tickets", "--config.start=random"],
}  # fmt: skip
WRONG = [
    "", "0", "-1", "1e9", "1e999", "nan", "-inf", "9" * 18, "9" * 4000, "0x" + "f" * 5000,
    "(" * 90 + ")" * 90, "(" * 5000, "-" * 3000 + "1", "[" * 30 + "]" * 30, "{[1]: 2}", "([1],)",
    "({1: [2]},)", "{1, 2}", "(1j,)", "(b'x',)", "(None,)", "((1, 2), (3,))", "('\\x00',)", "\0",
    "a" * 5000, "True", "None", "f(" * 90 + ")" * 90, "sgd(momentum=[1])", "adam(b1='x')",
    "snip(temperature=[])", "threshold(mu=[[1], [2, 3]])", "top_k(density=[1])",
    "steps(epochs=(1, 0.5))", "steps(epochs=5)", "cosine(warmup_epochs=1e400)",
    "cosine(warmup_epochs=None)", "scale_by_lbfgs(memory_size=10000000000)",
    "apply_every(k=10000000000000000000)", "(('a{9999999999}', 'mask'),)", "(('((', 'mask'),)",
    "(('a', 'mask', 'x'),)", "(1e300, 1e300, 1e300, 1e300)", "a:b", "..:x", "folder:\0",
    "folder:" + "a" * 300, "normal(std='a')", "optimal_brain_damage(samples=10000000000000)",
    "synflow(statistics=[1])", "learned('a')", "learned([1])", "forest(rows=-1)",
    "mlp(hidden=(0,))", "mlp(optimizer='none')", "('tree(leaves=1)',)", "('snip', 3)", "(-1,)",
]  # fmt: skip


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_any_value_of_any_field_is_taken_or_refused_in_one_line(name, tmp_path):
    (tmp_path / "dense.py").write_text(DENSE)
    given = RECIPES[name] or [f"--config={tmp_path}/dense.py"]
    draw = random.Random(name)
    refused = 0
    other = () if name == "adapt" else {*METHODS, "pretrain"} - {"mask"}  # as those of adapt
    for field, _ in fields(parse(given)[0]):
        if field.partition(".")[0] in other or field.startswith("few_labels.mask."):
            continue
        small = [] if field == "network.width" else ["--config.network.width=0.05"]
        if field.startswith("few_labels.") and field != "few_labels.shares":  # else they are off
            small.append("--config.few_labels.shares=0.2")
        for text in draw.sample(WRONG, 1 if name in ("adapt", "self_mask") else 5):
            try:
                recipe.prepare(parse([*given, *small, f"--config.{field}={text}"])[0])
            except InputError:
                refused += 1
    assert refused


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ("train.epochs=" + "1" + "0" * 18, "train.epochs has 1000000000000000000; give .* 1e"),
        ("shots=100000", "shots has 100000; give a finite number at most 10000"),
        ("network.width=1e9", r"network.width has 1000000000.0; .* at most 1000"),
        ("network.width=1000", "GiB of weights"),
        ("train.schedule=steps(epochs=(120, 80))", "give epochs that grow, above 0 and below the"),
        ("train.schedule=steps(epochs=(1, 1))", "give epochs that grow"),
        ("train.schedule=steps(epochs=(0.5, 99))", "below the 3 of training"),
        ("train.schedule=steps(epochs=(0, 1))", "above 0"),
        ("train.schedule=steps(epochs=(1,), factor=-1)", "factor has -1"),
        ("train.schedule=steps(epochs=3)", "schedule 'steps': 'int' object is not iterable"),
        ("train.schedule=cosine(warmup_epochs=-0.001)", "warmup_epochs has -0.001"),
        ("train.optimizer=" + "-" * 3000 + "x", "cannot be read"),
        ("train.optimizer=adam(b1={[]: 1})", "cannot be read|adam"),
        ("criterion=grasp(temperature=" + "[" * 30 + "]" * 30 + ")", "more than 20 brackets"),
        ("criterion=snip(temperature=0x" + "f" * 99 + ")", "more than 64 bits"),
        ("criterion=synflow(statistics=[1])", "synflow|statistics"),
        ("data.classes=" + "[" * 30 + "1" + "]" * 30, "more than 20 brackets"),
        ("data.classes=({1, 2},)", "it must be a tuple"),
        ("rules=(('" + "(" * 90 + "', 'mask'),)", "is not a regular expression"),
        ("start=" + "a" * 300, "there are no weights at a"),
        ("data.name=" + "a" * 300, "the name is too long"),
    ],
)
def test_the_way_out_is_told(changes, message, tmp_path, capsys):
    given = ["--config=prune_digits", "--config.train.epochs=3", f"--config.{changes}"]
    if changes.startswith("network.width=1000"):
        given.append("--config.network.name=resnet110")
    folder = tmp_path / "run"
    assert main([*given, f"--workdir={folder}"]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert len(told) < 1100
    assert re.search(message, told), told
    assert not folder.exists()


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("seed", "1", "seed is '1'; it must be of type int, like 0"),
        ("data.flip", 1, "data.flip is 1; it must be of type bool"),
        ("train.epochs", 2.5, "train.epochs is 2.5; it must be of type int"),
        ("data.mean", 0.5, "data.mean is 0.5; it must be of type tuple"),
        ("criterion", ("snip",), "criterion is"),
    ],
)
def test_configs_in_python_have_the_types_of_the_defaults(field, value, message):
    config = defaults.prune("digits", 1)
    section, _, name = field.rpartition(".")
    with config.ignore_type():
        (config[section] if section else config)[name] = value
    with pytest.raises(InputError, match=message):
        recipe.prepare(config)


def test_a_section_without_a_field_is_refused_naming_it():
    config = defaults.prune("digits", 1)
    del config.scoring["mode"]
    with pytest.raises(InputError, match=r"lacks fields of its recipe: scoring\.mode"):
        recipe.prepare(config)
