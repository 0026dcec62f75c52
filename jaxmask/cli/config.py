"""Configs by name or file, and overrides of their fields by flags of `ml_collections`."""

import importlib.util
import inspect
import re
import reprlib
from collections.abc import Collection, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from absl import flags
from ml_collections import ConfigDict, FrozenConfigDict, config_flags

from jaxmask.cli.ending import called
from jaxmask.errors import InputError, Interrupted, nearest
from jaxmask.train.named import first_line, literal

PACKAGED = Path(__file__).parent.parent / "configs"  # in the wheel
CONFIGS = PACKAGED if PACKAGED.is_dir() else PACKAGED.parent.parent / "configs"
OVERRIDE = re.compile(r"--?(no)?config\.([^=]*)(=.*)?", re.DOTALL)
# what a value must be, by the type of the field
KINDS: dict[type, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
    tuple: "a tuple",
}


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
    missing = " (no such file)" if path.suffix == ".py" else ""
    raise InputError(f"there is no config {name!r}{missing}{nearest(path.stem, names())}")


def modes(path: Path) -> tuple[str, ...]:
    """The modes of a packaged config, the default one first."""
    module = _imported(path)
    default = inspect.signature(module.get_config).parameters["mode"].default
    others = [mode for mode in getattr(module, "MODES", ()) if mode != default]
    return tuple(filter(None, (default, *others)))


def _imported(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise InputError(f"{path} is not a Python file; give one with get_config")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def load(path: Path, mode: str) -> ConfigDict:
    """The config as its file defines it, without overrides.

    Raises:
      InputError: the file does not give one.
    """
    try:
        module = _imported(path)
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
        raise InputError(f"config {path}: {first_line(error)}") from None


def overridden(config: ConfigDict, arguments: Sequence[str], path: Path) -> list[str]:
    """Sets the fields that `--config.FIELD=VALUE` arguments name; returns the other arguments.

    As in `ml_collections.config_flags`: `--config.FIELD VALUE`, `--noconfig.FLAG`, and
    `--config.FIELD=1 --config.FIELD=2` for a tuple.

    Args:
      path: of the config's file, for errors.

    Raises:
      InputError: there is no such field, the value has another type, or the config cannot be
        written as JSON.
    """
    for argument in arguments:
        if found := OVERRIDE.fullmatch(argument):
            no, field, value = found.groups()
            _check_field(field, value, bool(no), config)
    values = flags.FlagValues()
    values.set_gnu_getopt()
    try:
        config_flags.DEFINE_config_dict(
            "config", config, flag_values=values, sys_argv=["", *arguments]
        )
        rest = values(["", *arguments], known_only=True)[1:]
    except flags.Error as error:
        raise InputError(_told(str(error), config)) from None
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError) as error:
        raise InputError(first_line(error)) from None
    _check_storable(config, path)
    return rest


def fields(config: ConfigDict, at: str = "") -> list[tuple[str, Any]]:
    """(name, value) of every field of a config; names of nested fields have dots."""
    found = []
    for name, value in config.items():
        if isinstance(value, ConfigDict):
            found += fields(value, f"{at}{name}.")
        else:
            found.append((at + name, value))
    return found


def renamed(field: str, known: Collection[str]) -> str:
    """A hint for a field that a config lacks: its new name, or the nearest ones."""
    from jaxmask.run.defaults import RENAMED

    new = ".".join(RENAMED.get(part, part) for part in field.split("."))
    return f"; it is now called {new!r}" if new in known else nearest(field, known)


def _check_field(field: str, value: str | None, no: bool, config: ConfigDict) -> None:
    """Raises InputError for an override of a field that is none, or cannot be set that way."""
    known = dict(fields(config))
    if field not in known:
        if any(name.startswith(f"{field}.") for name in known):
            raise InputError(f"config.{field} is a section; set its fields, --config.{field}.NAME")
        raise InputError(f"the config has no field {field!r}{renamed(field, known)}")
    kind = type(known[field])
    if kind not in KINDS:
        raise InputError(
            f"config.{field} is of type {kind.__name__}, which only the config's file can set"
        )
    if no and (kind is not bool or value is not None):
        raise InputError(f"--noconfig.{field} sets a flag to false, and takes no value")
    text = (value or "=")[1:]
    if kind is tuple or kind is int:  # of others, nothing that is too large could be shown
        try:
            literal(text)
        except InputError as error:
            raise InputError(f"--config.{field}: {error}") from None
        except ValueError:  # a text alone is a tuple of it
            if kind is tuple and text.strip()[:1] in ("(", "[", "{"):
                raise InputError(_wrong(field, text, known[field])) from None


def _wrong(field: str, text: str, default: Any) -> str:
    return f"--config.{field}={text}: it must be {KINDS[type(default)]}, like {default}"


def _told(error: str, config: ConfigDict) -> str:
    """What a flag's error says, in our words."""
    if found := re.match(r"flag --config\.([^=]*)=(.*?): ", error, re.DOTALL):
        return _wrong(found[1], found[2], dict(fields(config))[found[1]])
    if found := re.match("Missing value for flag (.*)", error):
        return f"{found[1]} needs a value: {found[1]}=VALUE"
    return error


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
