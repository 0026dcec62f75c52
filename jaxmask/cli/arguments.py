"""Parsers of commands that take no config: `argparse`, with errors in one line."""

import argparse
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from jaxmask.cli import absl_flags
from jaxmask.cli.ending import HelpShown
from jaxmask.errors import InputError

MORE = "--helpfull also shows the flags of absl: logging, debugger, profiler."


def command_parser(name: str, about: str) -> argparse.ArgumentParser:
    """A parser of a command's arguments, which raises InputError."""
    parser = argparse.ArgumentParser(
        prog=f"jaxmask {name}", description=about, epilog=MORE, allow_abbrev=False
    )
    parser.error = _refuse  # type: ignore[method-assign]
    return parser


def add_command(commands: Any, name: str, about: str, command: Callable[..., None]) -> Any:
    """Adds a command to those of a parser (`add_subparsers`); returns the command's parser."""
    parser = commands.add_parser(
        name, help=about, description=about, epilog=MORE, allow_abbrev=False
    )
    parser.error = _refuse
    parser.set_defaults(command=command)
    return parser


def parsed(parser: argparse.ArgumentParser, arguments: Sequence[str]) -> argparse.Namespace:
    """What `parser` makes of the arguments.

    Raises:
      HelpShown: they ask for the help, which is now on stdout.
      InputError: they are invalid.
    """
    full = "--helpfull" in arguments
    try:
        return parser.parse_args(["--help" if each == "--helpfull" else each for each in arguments])
    except SystemExit:
        if full:
            print(f"\nflags of absl\n{absl_flags.own().get_help()}")
        raise HelpShown from None


def _refuse(message: str) -> NoReturn:
    """Replaces argparse's `error`: one line, without the usage text."""
    raise InputError(f"{message}; see --help")
