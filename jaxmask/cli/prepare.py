"""The command line that downloads a dataset of TFDS and writes it in the format read here.

    python -m jaxmask.prepare NAME [--directory=PATH]

NAME is `name[/config][:version]`; PATH is by default $TFDS_DATA_DIR, else ~/tensorflow_datasets.
This needs the extra `prepare`, with TensorFlow: `launch/prepare NAME` runs it in an environment of
its own. Training and all other commands need neither.
"""

import argparse
import sys
from collections.abc import Sequence

from jaxmask.cli.ending import exit_status, refuse
from jaxmask.data import dataset, preparing


def main(arguments: Sequence[str]) -> int:
    """Runs the command that the arguments give; returns the status of `ending.exit_status`."""

    def work() -> None:
        given = _parser().parse_args(arguments)
        folder = preparing.prepare(given.name, dataset.tfds_folder(given.directory))
        print(f"{given.name} is in {folder}")

    return exit_status(work, lambda: "the dataset")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m jaxmask.prepare", description="Prepares a dataset of TFDS.",
        allow_abbrev=False,
    )  # fmt: skip
    parser.error = refuse  # type: ignore[method-assign]
    parser.add_argument("name", metavar="NAME", help="name[/config][:version]")
    parser.add_argument("--directory", default="", help="folder of TFDS datasets")
    return parser


def run() -> None:
    """The entry point of the command."""
    sys.exit(main(sys.argv[1:]))
