"""Reports on finished runs: tables, significance tests, plots.

    jaxmask report RUNS... [--out=report] [--baseline="snip USS"]

RUNS are run directories, or folders to search for them. The report folder gets results.csv and
results.parquet (one row per run), summary.csv (one row per setting: mean, standard deviation,
p-values), table.md and figures/*.png; the table is also printed.

A run of `adapt`, `self_mask` or `cascade` counts as one run for each of its methods. These have
their own table, with the bytes to store each; `--baseline=full` tests the others against
fine-tuning.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from jaxmask.cli import absl_flags
from jaxmask.cli.arguments import command_parser, parsed
from jaxmask.cli.ending import exit_status
from jaxmask.errors import InputError
from jaxmask.report import grid, significance, summary


def main(arguments: Sequence[str]) -> int:
    """Writes the report that the arguments describe; returns the exit status.

    0: written. 1: storage failed. 2: invalid input, explained in one line.
    """
    return exit_status(lambda: _report(parsed(parser(), arguments)), lambda: "the report")


def _report(given: argparse.Namespace) -> None:
    for text in given.runs:
        if text.startswith("--"):  # argparse takes an argument with a space for a folder
            raise InputError(f"unknown argument {text.partition('=')[0]}; see --help")
    if given.published_row and not given.published:
        raise InputError("--published-row needs --published=FILE")
    _use_the_processor()
    from rich.console import Console

    found = grid.make(
        given.runs,
        given.baseline,
        metric=given.metric,
        test=given.test,
        density=given.density,
        published_file=given.published,
        published_rows=given.published_row or (),
    )
    grid.save(found, given.out)
    # a table in a file or a pipe has no line width
    console = Console(width=None if sys.stdout.isatty() else 300, highlight=False)
    for table, caption, _ in grid.tables(found):
        console.print(summary.terminal(table))
        print(caption)
    print(f"{len(found.runs)} runs; tables and figures: {given.out}")


def parser() -> argparse.ArgumentParser:
    """Of the command's arguments."""
    made = command_parser("report", "Tables, significance tests and plots of finished runs.")
    made.add_argument("runs", nargs="+", metavar="RUNS", help="run directories or folders of them")
    for name, text, settings in (
        ("out", "folder to write the report to (default: report)",
         {"metavar": "FOLDER", "type": Path, "default": Path("report")}),
        ("baseline", "test the others against this row of the table, such as 'snip USS' or full",
         {"metavar": "LABEL"}),
        ("metric", "the column of results.csv to summarize (default: accuracy; density if "
         "nothing was trained)",
         {"metavar": "COLUMN"}),
        ("test", "the test whose stars the table shows (default: welch)",
         {"choices": tuple(significance.TESTS), "default": "welch"}),
        ("density", "the density whose masks and weights are drawn (default: that of most methods)",
         {"metavar": "NUMBER", "type": float}),
        ("published", "CSV of published figures: a column 'algorithm', and one per density",
         {"metavar": "FILE"}),
        ("published-row", "an algorithm of that file and the row to show it in; repeat for "
         "more (default: equal names)", {"metavar": "NAME=LABEL", "action": "append"}),
    ):  # fmt: skip
        made.add_argument(f"--{name}", help=text, **settings)
    return made


def _use_the_processor() -> None:
    """Keeps JAX off accelerators, which other runs may be using, unless JAX_PLATFORMS is set."""
    import jax

    if not os.environ.get("JAX_PLATFORMS"):
        jax.config.update("jax_platforms", "cpu")


def run() -> None:
    """The entry point of the command."""
    absl_flags.start(main)
