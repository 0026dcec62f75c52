"""The command line: one config in, one run directory out.

    python -m jaxmask.main --config=configs/digits.py --workdir=runs/digits --config.seed=1

`--config` takes a file, or the name of a config that comes with the package (`digits`), and after
a colon the mode to run it in (`mnist:supermask`). Every field of the config can be overridden.
"""

import errno
import importlib.util
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import flags, logging
from ml_collections import ConfigDict, config_flags

from jaxmask.errors import InputError, nearest

PACKAGED = Path(__file__).parent / "configs"  # in the wheel
CHECKOUT = Path(__file__).parent.parent / "configs"

UNUSABLE_STORAGE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)


def main(arguments: Sequence[str]) -> int:
    """Runs what the arguments describe; returns the exit status.

    0: finished (or was finished before). 1: storage failed. 2: the input is at fault, and one
    line says how. 130, 143: Ctrl-C or SIGTERM; the same command goes on from there.
    """
    # Only what an error message needs is imported before the arguments are known to be good.
    try:
        config, folder = parse(arguments)
        _use_compilation_cache(config.compilation_cache)
        from jaxmask import recipe
        from jaxmask.train.signals import Interrupted
    except InputError as error:
        return _tell(str(error), 2)
    logging.set_verbosity(logging.WARNING)
    try:
        result = recipe.run(config, folder)
    except InputError as error:
        return _tell(str(error), 2)
    except Interrupted as interrupted:
        return _tell(
            f"stopped by {interrupted}; the same command goes on from the checkpoint in {folder}",
            interrupted.status,
        )
    except KeyboardInterrupt:
        return _tell(f"stopped by SIGINT; the same command goes on in {folder}", 130)
    except OSError as error:
        if error.errno not in UNUSABLE_STORAGE:
            raise
        return _tell(
            f"cannot write {error.filename or folder}: {os.strerror(error.errno)}; "
            "make room or give another --workdir, then give the same command again",
            1,
        )
    _show(result, folder)
    return 0


def parse(arguments: Sequence[str]) -> tuple[ConfigDict, Path]:
    """The config with its overrides, and the run directory, from command-line arguments.

    Raises:
      InputError: no such config, mode or field, or a value of another type.
    """
    values = flags.FlagValues()
    given, named = [], None
    for argument in arguments:
        if argument.startswith("--config="):
            named = argument.removeprefix("--config=")
            path, mode = resolve(named)
            argument = f"--config={path}:{mode}" if mode else f"--config={path}"
            template = _load(path, mode)
        given.append(argument)
    if named is None:
        raise InputError("give --config=NAME or --config=FILE; known are " + ", ".join(names()))
    config_flags.DEFINE_config_file("config", flag_values=values)
    flags.DEFINE_string("workdir", None, "the run directory", flag_values=values)
    _check_fields(given, template)
    try:
        rest = values(["jaxmask", *given])
    except (flags.Error, ValueError, TypeError, AttributeError, KeyError) as error:
        reason = next(line for line in reversed(str(error).splitlines()) if line.strip())
        raise InputError(f"{reason.strip()} (in {' '.join(arguments)})") from None
    if rest[1:]:
        raise InputError(f"unexpected argument {rest[1]!r}; write --name=value")
    workdir = values.workdir or f"runs/{Path(named.replace(':', '-')).name.replace('.py', '')}"
    return values.config, Path(workdir)


def names() -> list[str]:
    """The configs that come with the package."""
    folder = CHECKOUT if CHECKOUT.is_dir() else PACKAGED
    return sorted(path.stem for path in folder.glob("*.py"))


def resolve(text: str) -> tuple[Path, str]:
    """(file, mode) of a `--config` value; a name, or `configs/name.py`, is found anywhere."""
    name, _, mode = text.partition(":")
    for candidate in (Path(name), CHECKOUT / f"{Path(name).stem}.py",
                      PACKAGED / f"{Path(name).stem}.py"):  # fmt: skip
        if candidate.is_file() and (candidate == Path(name) or Path(name).parent.name in (
            "", "configs",
        )):  # fmt: skip
            return candidate, mode
    raise InputError(f"there is no config {name!r}{nearest(Path(name).stem, names())}")


def _load(path: Path, mode: str) -> ConfigDict:
    """The config as its file gives it, to tell errors in it from errors in the overrides."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise InputError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        return module.get_config(mode) if mode else module.get_config()
    except Exception as error:
        raise InputError(f"config {path}: {str(error).splitlines()[0]}") from None


def _check_fields(arguments: Sequence[str], config: ConfigDict) -> None:
    fields = dict(_fields(config))
    for argument in arguments:
        name, has_value, text = argument.removeprefix("--").partition("=")
        if name in ("config", "workdir"):
            continue
        field = name.removeprefix("config.")
        if field == name or not argument.startswith("--"):
            raise InputError(
                f"unknown argument {argument!r}{nearest(name, ['config', 'workdir'])} "
                "(a field of the config is --config.FIELD=VALUE)"
            )
        if field not in fields:
            raise InputError(f"the config has no field {field!r}{nearest(field, fields)}")
        if not has_value:
            raise InputError(f"--{name} needs a value: --{name}=VALUE")
        _check_type(name, text, fields[field])


def _check_type(name: str, text: str, default: Any) -> None:
    kinds = {bool: ("true", "false"), int: int, float: float}
    reader = kinds.get(type(default))
    try:
        if isinstance(reader, tuple) and text.lower() not in reader:
            raise ValueError
        if callable(reader):
            reader(text)
    except ValueError:
        what = {"bool": "true or false", "int": "a whole number", "float": "a number"}
        raise InputError(
            f"--{name}={text}: it must be {what[type(default).__name__]}, like {default}"
        ) from None


def _fields(config: ConfigDict, at: str = "") -> list[tuple[str, Any]]:
    found = []
    for name, value in config.items():
        if isinstance(value, ConfigDict):
            found += _fields(value, f"{at}{name}.")
        else:
            found.append((at + name, value))
    return found


def _use_compilation_cache(folder: str) -> None:
    """Keeps compiled programs on disk, so that the next run of the same shapes starts at once."""
    if folder == "off":
        return
    import jax

    base = os.environ.get("JAXMASK_CACHE") or Path.home() / ".cache" / "jaxmask"
    jax.config.update("jax_compilation_cache_dir", folder or str(Path(base) / "xla"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)


def _show(result: dict[str, Any], folder: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    from jaxmask import report

    console = Console()
    if not console.is_terminal:
        console.width = 100
    if "methods" in result:
        shown = report.tables.formatted(report.tables.comparison(folder, list(result["methods"])))
        table = Table(title=f"{result['dataset']}, seed {result['seed']}")
        for column in shown.columns:
            table.add_column(column, justify="left" if column == "method" else "right",
                             no_wrap=column == "method")  # fmt: skip
        for row in shown.values.tolist():
            table.add_row(*row)
        console.print(table)
    else:
        console.print(f"test accuracy {result['accuracy']:.2%} on {result['dataset']}")
    print(f"results, masks and figures: {folder}")


def _tell(message: str, status: int) -> int:
    print(f"jaxmask: {message}", file=sys.stderr)
    return status


def run() -> None:
    """The entry point of the command `jaxmask`."""
    sys.exit(main(sys.argv[1:]))


if __name__ == "__main__":
    run()
