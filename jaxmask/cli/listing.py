"""The command line that says what there is.

jaxmask list configs|networks|criteria|adapters|datasets
"""

import argparse
import inspect
from collections.abc import Callable, Sequence

from jaxmask.cli import absl_flags
from jaxmask.cli import config as configs
from jaxmask.cli.arguments import command_parser, parsed
from jaxmask.cli.columns import docstring_line, printed
from jaxmask.cli.ending import exit_status

Lines = dict[str, str]


def main(arguments: Sequence[str]) -> int:
    """Prints what the arguments ask for; returns the status of `ending.exit_status`."""

    def work() -> None:
        given = parsed(parser(), arguments)
        lines, more = LISTS[given.what]()
        printed(lines.items())
        print(f"\n{more}")

    return exit_status(work, lambda: "the list")


def _configs() -> tuple[Lines, str]:
    found = {}
    for name in configs.names():
        path = configs.CONFIGS / f"{name}.py"
        modes = configs.modes(path)
        found[name] = docstring_line(path) + (f" Modes: {', '.join(modes)}." if modes else "")
    return found, (
        "jaxmask run --config=NAME:MODE (the first mode if none is given), or a file of your own; "
        "jaxmask run --config=NAME --help shows its fields"
    )


def _networks() -> tuple[Lines, str]:
    from jaxmask.model import registry

    lines = {name: registry.about(name) for name in registry.names()}
    return lines, "--config.network.name=NAME, or your own: package.module:Class"


def _criteria() -> tuple[Lines, str]:
    from jaxmask import score
    from jaxmask.run import composites, criteria

    lines = {name: _first(score.SCORERS[name]) for name in criteria.CRITERIA}
    lines |= {name: _first(getattr(score, name)) for name in composites.COMPOSITES}
    return lines, (
        '--config.criterion="NAME(setting=value)" or "stack(NAME(), NAME())", of jaxmask.score; '
        "higher scores are kept"
    )


def _adapters() -> tuple[Lines, str]:
    from jaxmask.adapter import EVALUATORS, METHODS

    evaluators = {name: each.about for name, each in EVALUATORS.items()}
    methods = {name: each.about for name, each in METHODS.items()}
    return {**evaluators, **methods}, "--config.methods=\"('NAME', 'NAME')\", of the recipe adapt"


def _datasets() -> tuple[Lines, str]:
    from jaxmask.data.available import available

    return available(), (
        "--config.data.name=NAME; or folder:PATH, a folder of images for each class; or "
        "hf:OWNER/NAME of the Hugging Face hub; or any other of TFDS, after jaxmask prepare NAME"
    )


LISTS: dict[str, Callable[[], tuple[Lines, str]]] = {
    "configs": _configs,
    "networks": _networks,
    "criteria": _criteria,
    "adapters": _adapters,
    "datasets": _datasets,
}


def _first(function: Callable[..., object]) -> str:
    return (inspect.getdoc(function) or "").partition("\n")[0]


def parser() -> argparse.ArgumentParser:
    """Of the command's arguments."""
    made = command_parser("list", "Says what there is.")
    made.add_argument("what", choices=tuple(LISTS), metavar="|".join(LISTS))
    return made


def run() -> None:
    """The entry point of the command."""
    absl_flags.start(main)
