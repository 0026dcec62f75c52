"""What `--help` and `--helpfull` of the commands that take a config print."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_collections import ConfigDict

from jaxmask.adapter import EVALUATORS, METHODS
from jaxmask.cli import absl_flags
from jaxmask.cli import config as configs
from jaxmask.cli.columns import docstring_line, printed
from jaxmask.run.fields import about

if TYPE_CHECKING:
    from jaxmask.cli.run import Command

OWN = (
    ("--config=CONFIG", "a file, or the name of a packaged config; after a colon its mode"),
    ("--workdir=FOLDER", "where everything is written (default: runs/CONFIG)"),
    ("--config.FIELD=VALUE", "sets a field of the config; a flag also as --noconfig.FLAG"),
    ("--help", "this; with a config, also its fields"),
    ("--helpfull", "also the fields of all methods and recipes, and the flags of absl"),
)


def show(command: "Command", full: bool, path: Path | None, config: ConfigDict | None) -> None:
    """Prints the help of a command.

    Args:
      full: whether all is shown.
      path, config: of the config that the command line names, with its overrides.
    """
    print(f"usage: {command.name} --config=CONFIG [--workdir=FOLDER] [--config.FIELD=VALUE ...]")
    print(f"\n{command.about}\n")
    printed([*OWN[:2], *command.flags, *OWN[2:]])
    if config is not None and path is not None:
        print(f"\n{path}: {docstring_line(path)}\n")
        printed(_fields(config, full))
    else:
        print()
        printed([("packaged configs:", f"{', '.join(configs.names())} (see jaxmask list configs)")])
    if full and config is None:
        from jaxmask.recipe import FIELDS

        for recipe, every in FIELDS.items():
            print(f"\nrecipe {recipe}\n")
            printed(_fields(every, full))
    if full:
        print(f"\nflags of absl\n{absl_flags.own().get_help()}")


def _fields(config: ConfigDict, full: bool) -> list[tuple[str, str]]:
    """Each field with its value, and what it is; of all methods, or of those that are used."""
    recipe, used = config.get("recipe", ""), [*config.get("methods", ()), config.get("method")]
    if "views" in config:  # what is learned without labels is measured by all of them
        used += EVALUATORS
    rows = []
    for field, value in configs.fields(config):
        section = field.partition(".")[0]
        if full or section not in (*METHODS, *EVALUATORS) or section in used:
            no = "[no]" if isinstance(value, bool) else ""
            rows.append((f"--{no}config.{field}={_quoted(value)}", about(recipe, field)))
    return rows


def _quoted(value: Any) -> str:
    """A value as a shell takes it, if possible in the double quotes that Python's leave free."""
    text = value if isinstance(value, str) else repr(value)
    if shlex.quote(text) == text or any(each in text for each in '"$`\\!'):
        return shlex.quote(text)
    return f'"{text}"'
