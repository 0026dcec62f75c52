"""The program `jaxmask`: one command for everything.

jaxmask run|sweep|report|masks|task|prepare|list|completion ...
"""

import importlib
from collections.abc import Sequence

from jaxmask.cli import absl_flags
from jaxmask.cli.columns import printed
from jaxmask.cli.ending import HelpShown, exit_status
from jaxmask.errors import InputError, nearest
from jaxmask.version import __version__

# name -> (module of `jaxmask.cli`, what it does)
COMMANDS = {
    "run": ("run", "run the experiment of a config"),
    "sweep": ("sweep", "run every point of a config's grid"),
    "report": ("report", "tables, significance tests and plots of finished runs"),
    "masks": ("masks", "show, compare, apply, export and merge mask files"),
    "task": ("task", "evaluate a learned task, or predict with it"),
    "prepare": ("prepare", "download a dataset of TFDS and write it in the format read here"),
    "list": ("listing", "say what configs, networks, criteria, adapters, datasets there are"),
    "completion": ("completion", "print the completion of commands for a shell"),
}


def about(command: str) -> str:
    """What a command does, in a line."""
    return COMMANDS[command][1]


def main(arguments: Sequence[str]) -> int:
    """Runs the command that the first argument names; returns its exit status."""
    if arguments and arguments[0] in COMMANDS:
        module, _ = COMMANDS[arguments[0]]
        status: int = importlib.import_module(f"jaxmask.cli.{module}").main(arguments[1:])
        return status
    return exit_status(lambda: _alone(arguments), lambda: "the help")


def _alone(arguments: Sequence[str]) -> None:
    first = arguments[0] if arguments else "--help"
    if first == "--version":
        print(f"jaxmask {__version__}")
    elif first in ("--help", "-h", "--helpfull", "help"):
        print("usage: jaxmask COMMAND ...\n\nLearn binary masks over frozen networks, prune "
              "networks, compare such experiments.\n")  # fmt: skip
        printed((name, about(name)) for name in COMMANDS)
        print("\njaxmask COMMAND --help says more; jaxmask --version")
        if first == "--helpfull":
            print(f"\nflags of absl\n{absl_flags.own().get_help()}")
        raise HelpShown
    elif first.startswith("--config"):
        raise InputError(f"name a command: jaxmask run {first} ...")
    else:
        raise InputError(f"there is no command {first!r}{nearest(first, COMMANDS)}")


def run() -> None:
    """The entry point of the program."""
    absl_flags.start(main)
