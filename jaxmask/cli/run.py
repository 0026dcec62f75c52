"""The command line: one config in, one run directory out.

    python -m jaxmask.main --config=configs/digits.py --workdir=runs/digits --config.seed=1

`--config` takes a file, or the name of a config in the package (`digits`), and after a colon the
mode to run it in (`mnist:supermask`). Every field of the config can be overridden.
"""

import importlib.util
import os
import reprlib
import sys
from collections.abc import Callable, Collection, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import logging
from ml_collections import ConfigDict, FrozenConfigDict

from jaxmask import signals
from jaxmask.cli.ending import called, exit_status
from jaxmask.errors import InputError, Interrupted, nearest
from jaxmask.train.named import literal

if TYPE_CHECKING:
    from jaxmask.run.result import Result

PACKAGED = Path(__file__).parent.parent / "configs"  # in the wheel
CONFIGS = PACKAGED if PACKAGED.is_dir() else PACKAGED.parent.parent / "configs"


Execute = Callable[[ConfigDict, Path], None]


def main(arguments: Sequence[str], execute: Execute | None = None, **options: Any) -> int:
    """Runs what the arguments describe; returns the exit status.

    0: finished, now or before. 1: storage failed. 2: invalid input, explained in one line.
    130, 143: Ctrl-C or SIGTERM; the same command resumes the run.

    Args:
      execute: called with the config and the run directory; None runs the config's recipe.
      options: of the recipe, such as `methods={**adapter.METHODS, "mine": ...}` of `adapt`.
    """
    folders: list[Path] = []

    def work() -> None:
        config, folder = parse(arguments)
        folders.append(folder)
        _use_compilation_cache(config.get("compilation_cache", ""))
        logging.set_verbosity(logging.WARNING)
        if execute is not None:
            execute(config, folder)
        else:
            _run_recipe(config, folder, options)

    def again() -> str:
        begun = folders and folders[0].exists()
        return f"; the same command goes on in {folders[0]}" if begun else "; nothing was started"

    return exit_status(work, lambda: str(folders[0]) if folders else "the run directory", again)


def _run_recipe(config: ConfigDict, folder: Path, options: dict[str, Any]) -> None:
    from jaxmask import recipe

    signals.obey()  # the import takes seconds
    tell = partial(print, flush=True)
    _show(recipe.run(config, folder, tell, **options), folder)


def parse(arguments: Sequence[str]) -> tuple[ConfigDict, Path]:
    """The config with its overrides, and the run directory.

    Raises:
      InputError: the config, mode or field does not exist, or a value has the wrong type.
    """
    named: dict[str, str] = {}
    overrides: dict[str, str] = {}
    for argument in arguments:
        name, has_value, text = argument.removeprefix("--").partition("=")
        field = name.removeprefix("config.")
        if not argument.startswith("--") or (field == name and name not in ("config", "workdir")):
            raise InputError(
                f"unknown argument {argument!r}{nearest(name, ['config', 'workdir'])} "
                "(a field of the config is --config.FIELD=VALUE)"
            )
        if not has_value:
            raise InputError(f"--{name} needs a value: --{name}=VALUE")
        (named if field == name else overrides)[field] = text
    if "config" not in named:
        raise InputError("give --config=NAME or --config=FILE; known: " + ", ".join(names()))
    path, mode = resolve(named["config"])
    config = _load(path, mode)
    known = dict(fields(config))
    for field, text in overrides.items():
        if field not in known:
            raise InputError(f"the config has no field {field!r}{renamed(field, known)}")
        config.update_from_flattened_dict({field: _value(field, text, known[field])})
    _check_storable(config, path)
    default = Path(named["config"].replace(":", "-").replace(".py", "")).name
    return config, Path(named.get("workdir") or f"runs/{default}")


def names() -> list[str]:
    """The names of the package's configs."""
    return sorted(path.stem for path in CONFIGS.glob("*.py"))


def resolve(text: str) -> tuple[Path, str]:
    """(file, mode) of a `--config` value; `name` and `configs/name.py` work from any folder."""
    name, _, mode = text.partition(":")
    path = Path(name)
    if path.is_file():
        return path, mode
    packaged = CONFIGS / f"{path.stem}.py"
    if packaged.is_file() and str(path.parent) in (".", "configs"):
        return packaged, mode
    raise InputError(f"there is no config {name!r}{nearest(path.stem, names())}")


def renamed(field: str, known: Collection[str]) -> str:
    """A hint for a field that a config lacks: its new name, or the nearest ones."""
    from jaxmask.run.defaults import RENAMED

    new = ".".join(RENAMED.get(part, part) for part in field.split("."))
    return f"; it is now called {new!r}" if new in known else nearest(field, known)


def _load(path: Path, mode: str) -> ConfigDict:
    """The config as its file defines it, without overrides."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise InputError(f"{path} is not a Python file; give one with get_config")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        config = module.get_config(mode) if mode else module.get_config()
        if not isinstance(config, ConfigDict):
            kind = type(config).__name__
            raise InputError(f"get_config returned a {kind}, not a ConfigDict")
        if isinstance(config, FrozenConfigDict):
            config = ConfigDict(config)
        return config.lock()
    except (KeyboardInterrupt, Interrupted):
        raise
    except SystemExit as end:
        raise InputError(f"config {path}: it calls {called(end)}; remove that") from None
    except BaseException as error:  # the code of a config may raise anything
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"config {path}: {reason}") from None


def _check_storable(config: ConfigDict, path: Path) -> None:
    """Raises InputError, naming the field, if the config cannot be written as JSON."""
    for field, value in fields(config):
        try:
            ConfigDict({"value": value}).to_json()
        except (TypeError, ValueError, RecursionError):
            raise InputError(
                f"config {path}: the field {field!r} is {reprlib.repr(value)}, which config.json "
                "cannot hold; give numbers, texts, truth values, None, or tuples of them"
            ) from None


def _value(field: str, text: str, default: Any) -> Any:
    """The text of an override, read as the type of the field."""
    if isinstance(default, str):
        return text
    readers: dict[type, tuple[Callable[[str], Any], str]] = {
        bool: (_bool, "true or false"),
        int: (int, "a whole number"),
        float: (float, "a number"),
        tuple: (_tuple, "a tuple"),
    }
    read, what = readers.get(type(default), (literal, "a Python literal"))
    try:
        return read(text)
    except InputError as error:
        raise InputError(f"--config.{field}: {error}") from None
    except ValueError:
        raise InputError(f"--config.{field}={text}: it must be {what}, like {default}") from None


def _bool(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError(text)
    return text.lower() == "true"


def _tuple(text: str) -> tuple[Any, ...]:
    value = literal(text)
    if not isinstance(value, tuple | list):
        raise ValueError(text)
    return tuple(value)


def fields(config: ConfigDict, at: str = "") -> list[tuple[str, Any]]:
    """(name, value) of every field of a config; names of nested fields have dots."""
    found = []
    for name, value in config.items():
        if isinstance(value, ConfigDict):
            found += fields(value, f"{at}{name}.")
        else:
            found.append((at + name, value))
    return found


def _use_compilation_cache(folder: str) -> None:
    """Keeps compiled programs on disk, so that later runs of the same shapes start faster."""
    if folder == "off":
        return
    import jax

    base = os.environ.get("JAXMASK_CACHE") or Path.home() / ".cache" / "jaxmask"
    jax.config.update("jax_compilation_cache_dir", folder or str(Path(base) / "xla"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)


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
    elif found.accuracy is None:
        print(f"density {found.density:.4g}, not trained")
    else:
        print(f"test accuracy {found.accuracy:.2%} on {found.dataset}")
    if found.empty_leaves:
        print(f"nothing is left of {', '.join(found.empty_leaves)}")
    print(f"results, masks and figures: {folder}")


def run() -> None:
    """The entry point of the command `jaxmask`."""
    sys.exit(main(sys.argv[1:]))
