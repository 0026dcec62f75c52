"""The command line: one config in, one run directory out.

    jaxmask run --config=configs/digits.py --workdir=runs/digits --config.seed=1

`--config` takes a file, or the name of a config in the package (`digits`), and after a colon the
mode to run it in (`mnist:supermask`). Every field of the config can be overridden.
"""

import os
import re
from collections.abc import Callable, Sequence
from contextlib import nullcontext, redirect_stdout
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from absl import flags
from ml_collections import ConfigDict

from jaxmask import signals
from jaxmask.cli import absl_flags, engines
from jaxmask.cli import config as configs
from jaxmask.cli.config import names, resolve
from jaxmask.cli.ending import HelpShown, exit_status
from jaxmask.cli.supervise import supervised
from jaxmask.errors import HostLost, InputError, Interrupted, nearest

if TYPE_CHECKING:
    from jaxmask.run.result import Result

__all__ = ["main", "names", "parse", "resolve", "run"]

# in what JAX says when another process is gone
LOST_SIGNS = ("UNAVAILABLE", "DEADLINE_EXCEEDED", "ABORTED", "Gloo", "onnection", "oordination")

Execute = Callable[[ConfigDict, Path], None]


class Command(NamedTuple):
    """A command that takes a config: its name, and what it does, in a sentence.

    `flags`: its own, and what they are, for the help; it has taken them from the arguments.
    """

    name: str
    about: str
    flags: tuple[tuple[str, str], ...] = ()


RUN = Command(
    "jaxmask run",
    "Runs the experiment that a config describes, in one run directory.",
    engines.DISTRIBUTED,
)


def main(
    arguments: Sequence[str],
    execute: Execute | None = None,
    command: Command = RUN,
    **options: Any,
) -> int:
    """Runs what the arguments describe; returns the exit status.

    0: finished, now or before. 1: storage failed, or a host was lost. 2: invalid input, explained
    in one line. 130, 143: Ctrl-C or SIGTERM; the same command resumes the run.

    Args:
      execute: called with the config and the run directory; None runs the config's recipe.
      command: for its help.
      options: of the recipe, such as `methods={**adapter.METHODS, "mine": ...}` of `adapt`.
    """
    if execute is not None:
        return _status(arguments, execute, command)
    status, how, rest = engines.taken(engines.distributed, arguments)
    if status:
        return status
    recipe = partial(_run_recipe, options=options)
    if how is None:
        return _status(rest, recipe, command)
    work = partial(_status, rest, partial(_on_hosts, how, recipe), command)
    return supervised(work, engines.HOST_LOST)


def _status(arguments: Sequence[str], execute: Execute, command: Command) -> int:
    folders: list[Path] = []

    def work() -> None:
        from jaxmask.run import compilation

        config, folder = parse(arguments, command)
        folders.append(folder)
        compilation.use_cache(config.get("compilation_cache", ""))
        execute(config, folder)

    def again() -> str:
        begun = folders and folders[0].exists()
        return f"; the same command goes on in {folders[0]}" if begun else "; nothing was started"

    return exit_status(work, lambda: str(folders[0]) if folders else "the run directory", again)


def _on_hosts(how: str, execute: Execute, config: ConfigDict, folder: Path) -> None:
    """Executes a config as one of many hosts; only the first of them prints and writes."""
    import jax

    from jaxmask import hosts

    hosts.begin(how)
    try:
        with hosts.own_copy(folder) as place, open(os.devnull, "w") as nothing:
            with nullcontext() if hosts.leads() else redirect_stdout(nothing):
                execute(config, place)
    except jax.errors.JaxRuntimeError as error:
        why = str(error).strip().partition("\n")[0]
        if not any(sign in why for sign in LOST_SIGNS):
            raise
        raise HostLost(f"{engines.HOST_LOST} ({why})") from None
    except Interrupted:
        hosts.end()
        raise
    hosts.end()


def _run_recipe(config: ConfigDict, folder: Path, *, options: dict[str, Any]) -> None:
    from jaxmask import recipe

    signals.obey()  # the import takes seconds
    tell = partial(print, flush=True)
    _show(recipe.run(config, folder, tell, **options), folder)


def parse(arguments: Sequence[str], command: Command = RUN) -> tuple[ConfigDict, Path]:
    """The config with its overrides, and the run directory.

    Raises:
      InputError: the config, mode or field does not exist, or a value has the wrong type.
      HelpShown: the arguments ask for the help, which is now on stdout.
    """
    given = _own_flags()
    try:
        rest = given(["", *absl_flags.without(arguments)], known_only=True)[1:]
    except (flags.Error, ValueError) as error:
        raise InputError(re.sub("Missing value for flag (.*)", r"\1 needs a value: \1=VALUE",
                                str(error))) from None  # fmt: skip
    path = config = None
    if given.config is not None:
        path, mode = resolve(given.config)
        config = configs.load(path, mode)
        rest = configs.overridden(config, rest, path)
    for argument in rest:
        name = argument.lstrip("-").partition("=")[0]
        if not argument.startswith("-") or (
            config is not None or not configs.OVERRIDE.match(argument)
        ):
            raise InputError(
                f"unknown argument {argument!r}{nearest(name, list(given))} "
                "(a field of the config is --config.FIELD=VALUE)"
            )
    if given.help or given.helpfull:
        from jaxmask.cli import helping

        helping.show(command, given.helpfull, path, config)
        raise HelpShown
    if config is None:
        raise InputError("give --config=NAME or --config=FILE; known: " + ", ".join(names()))
    default = Path(given.config.replace(":", "-").replace(".py", "")).name
    return config, Path(given.workdir or f"runs/{default}")


def _own_flags() -> flags.FlagValues:
    given = flags.FlagValues()
    given.set_gnu_getopt()
    flags.DEFINE_string("config", None, "a file or the name of a config", given)
    flags.DEFINE_string("workdir", None, "the run directory", given)
    flags.DEFINE_boolean("help", False, "show the help", given)
    flags.DEFINE_boolean("helpfull", False, "show all of the help", given)
    return given


def _show(found: "Result", folder: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    from jaxmask import report

    console = Console()
    if not console.is_terminal:
        console.width = 100
    if "methods" in found.more:
        shown = report.tables.formatted(
            report.tables.comparison(folder, list(found.more["methods"]))
        )
        table = Table(title=f"{found.dataset}, seed {found.seed}")
        for column in shown.columns:
            table.add_column(column, justify="left" if column == "method" else "right",
                             no_wrap=column == "method")  # fmt: skip
        for row in shown.values.tolist():
            table.add_row(*row)
        console.print(table)
    elif "learners" in found.more:
        print((folder / "table.md").read_text())
        print(f"--config.criterion=\"learned('{folder / found.more['scores']}')\"")
    elif found.accuracy is None:
        effective = found.more.get("effective_density")
        beside = "" if effective is None else f" (effective {effective:.4g})"
        print(f"density {found.density:.4g}{beside}, not trained")
    else:
        print(f"test accuracy {found.accuracy:.2%} on {found.dataset}")
    if found.empty_leaves:
        print(f"nothing is left of {', '.join(found.empty_leaves)}")
    print(f"results, masks and figures: {folder}")


def run() -> None:
    """The entry point of the command."""
    absl_flags.start(main)
