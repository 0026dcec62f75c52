"""Small pruning experiments on real digits, for tests."""

import json

from jaxmask import report
from jaxmask.recipe import run
from jaxmask.run import defaults


def config(recipe="prune", **changes):
    """A config of LeNet-30-10 on digits; `changes` by field, with `__` for dots."""
    made = getattr(defaults, recipe)("digits", epochs=3)
    made.network.name, made.network.width = "lenet_300_100", 0.1
    made.data.validation = 0.2
    made.train.batch_size = 32
    made.train.optimizer = "sgd(momentum=0.9)"
    if recipe == "lottery":
        made.rounds = 2
    for name, value in changes.items():
        made.update_from_flattened_dict({name.replace("__", "."): value})
    return made


def without_figures(patch):
    """Runs draw none, which takes much of their time; other tests are about them."""
    for name in ("comparison", "method"):
        patch.setattr(report.figures, name, lambda *arguments: None)


def result(folder):
    return json.loads((folder / "result.json").read_text())


def finished(folder, recipe="prune", **changes):
    run(config(recipe, **changes), folder)
    return result(folder)
