"""Complete experiments, one file each, by their names in configs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from jaxmask.errors import InputError, nearest
from jaxmask.recipe import (
    adapt,
    cascade,
    dense,
    learn_scores,
    lottery,
    prune,
    self_mask,
    tickets,
)
from jaxmask.run import defaults, directory, driver, plan
from jaxmask.run.result import Result
from jaxmask.run.seeds import check_seed

__all__ = [
    "FIELDS",
    "RECIPES",
    "adapt",
    "cascade",
    "defaults",
    "dense",
    "learn_scores",
    "lottery",
    "prepare",
    "prune",
    "run",
    "self_mask",
    "tickets",
]

RECIPES: dict[str, Callable[..., driver.Begin]] = {
    "adapt": adapt.prepare,
    "cascade": cascade.prepare,
    "dense": dense.prepare,
    "learn_scores": learn_scores.prepare,
    "lottery": lottery.prepare,
    "prune": prune.prepare,
    "self_mask": self_mask.prepare,
    "tickets": tickets.prepare,
}
FIELDS = {
    "adapt": defaults.adapt("", 1),
    "cascade": defaults.cascade("", 1),
    "dense": defaults.dense("", 1),
    "learn_scores": defaults.learn_scores("", 1),
    "lottery": defaults.lottery("", 1),
    "prune": defaults.prune("", 1),
    "self_mask": defaults.self_mask("", 1),
    "tickets": defaults.tickets("", 1),
}


def prepare(config: ConfigDict, **options: Any) -> driver.Begin:
    """Checks the config before anything is created; returns a function that runs it in a folder.

    The run holds the folder: another process that is to run there is refused.

    Args:
      options: of the recipe's own `prepare`, such as `methods` of `adapt`.

    Raises:
      InputError: the config lacks fields of its recipe, or cannot be run.
    """
    defaults.check_renamed(config)
    name = config.get("recipe", "")
    if not isinstance(name, str) or name not in RECIPES:
        raise InputError(f"unknown recipe {name!r}{nearest(str(name), RECIPES)}")
    defaults.check(config, FIELDS[name])
    check_seed(config.seed)
    begin = RECIPES[name](config, **options)

    def alone(folder: Path, shared: Path | None = None) -> driver.Experiment:
        return directory.alone_in(folder, config, begin(folder, shared))

    return driver.Begin(alone, begin.planned)


def run(
    config: ConfigDict, folder: Path, tell: Callable[[str], None] | None = None, **options: Any
) -> Result:
    """Runs the config's recipe in the run directory `folder`; returns the result.

    Args:
      tell: called with a line on what the run costs before anything is created, unless it is
        finished; None spares the estimate.
      options: of the recipe's own `prepare`, such as `methods` of `adapt`.

    Raises:
      InputError: the config lacks fields of its recipe, or cannot be run; or another process is
        running in the folder, or it holds other runs.
    """
    directory.refuse_taken(folder)
    begin = prepare(config, **options)
    if tell and directory.result_of(folder, config) is None:
        tell(plan.told(begin.planned, folder))
    return driver.alone(begin(folder, None))
