"""The command line that prints the completion of `jaxmask` for a shell, made by `shtab`.

eval "$(jaxmask completion bash)"     # in ~/.bashrc
eval "$(jaxmask completion zsh)"      # in ~/.zshrc
"""

import argparse
import re
from collections.abc import Sequence

import shtab

from jaxmask.cli import absl_flags, engines, listing, masks, prepare, report, task
from jaxmask.cli import config as configs
from jaxmask.cli.arguments import command_parser, parsed
from jaxmask.cli.ending import exit_status
from jaxmask.cli.program import about


def main(arguments: Sequence[str]) -> int:
    """Prints the script for the shell that the arguments name; returns the exit status."""

    def work() -> None:
        shell = parsed(parser(), arguments).shell
        print(shtab.complete(whole(), shell=shell))

    return exit_status(work, lambda: "the completion")


def whole() -> argparse.ArgumentParser:
    """One parser of all commands, to complete by."""
    program = argparse.ArgumentParser(prog="jaxmask")
    program.add_argument("--version", action="store_true", help="print the version")
    commands = program.add_subparsers()
    for name in ("run", "sweep"):
        command = commands.add_parser(name, help=about(name))
        command.add_argument("--config", choices=configs.names(), help="a file or a name")
        command.add_argument("--workdir", help="run directory").complete = shtab.DIRECTORY  # type: ignore[attr-defined]
        command.add_argument("--helpfull", action="store_true", help="show all of the help")
        for flag, what in engines.FLAGS if name == "sweep" else engines.DISTRIBUTED:
            command.add_argument(re.split(r"[\[=]", flag)[0], help=what)
    own = {"list": listing, "masks": masks, "prepare": prepare, "report": report, "task": task}
    for name, module in own.items():
        commands.add_parser(name, help=about(name), parents=[module.parser()], add_help=False)
    name = "completion"
    commands.add_parser(name, help=about(name), parents=[parser()], add_help=False)
    return program


def parser() -> argparse.ArgumentParser:
    """Of the command's arguments."""
    made = command_parser("completion", "Prints the completion of commands for a shell.")
    shells = tuple(shtab.SUPPORTED_SHELLS)
    made.add_argument("shell", choices=shells, metavar="|".join(shells))
    return made


def run() -> None:
    """The entry point of the command."""
    absl_flags.start(main)
