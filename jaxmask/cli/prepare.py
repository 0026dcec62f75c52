"""The command line that downloads a dataset of TFDS and writes it in the format read here.

    jaxmask prepare NAME [--directory=PATH]

NAME is `name[/config][:version]`; PATH is by default $TFDS_DATA_DIR, else ~/tensorflow_datasets.
This needs the extra `prepare`, with TensorFlow: `launch/prepare NAME` runs it in an environment of
its own. Training and all other commands need neither.
"""

import argparse
from collections.abc import Sequence

from jaxmask.cli import absl_flags
from jaxmask.cli.arguments import command_parser, parsed
from jaxmask.cli.ending import exit_status
from jaxmask.data import dataset, preparing


def main(arguments: Sequence[str]) -> int:
    """Runs the command that the arguments give; returns the status of `ending.exit_status`."""

    def work() -> None:
        given = parsed(parser(), arguments)
        folder = preparing.prepare(given.name, dataset.tfds_folder(given.directory))
        print(f"{given.name} is in {folder}")

    return exit_status(work, lambda: "the dataset")


def parser() -> argparse.ArgumentParser:
    """Of the command's arguments."""
    made = command_parser("prepare", "Prepares a dataset of TFDS.")
    made.add_argument("name", metavar="NAME", help="name[/config][:version]")
    made.add_argument("--directory", default="", help="folder of TFDS datasets")
    return made


def run() -> None:
    """The entry point of the command."""
    absl_flags.start(main)
