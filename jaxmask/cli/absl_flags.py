"""The flags of absl (logging, debugger, profiler), which every command takes."""

import logging as standard
from collections.abc import Callable, Sequence

from absl import app, flags, logging

from jaxmask.cli.ending import tell
from jaxmask.errors import InputError

MODULES = ("absl.logging", "absl.app")
# absl's own help, which ours replaces, and how absl tests its log
LEFT_OUT = ("help", "helpshort", "helpfull", "helpxml", "only_check_args", "logger_levels")


def start(main: Callable[[Sequence[str]], int]) -> None:
    """Runs a command under `absl.app` with the arguments of this process, and exits.

    Only warnings are logged, plainly, unless `--verbosity` or `-v` says otherwise.
    """
    quiet = True

    def parse(argv: Sequence[str]) -> list[str]:
        nonlocal quiet
        try:
            rest = without(argv[1:])
        except InputError as error:
            raise SystemExit(tell(str(error), 2)) from None
        flags.FLAGS.mark_as_parsed()
        quiet = flags.FLAGS["verbosity"].using_default_value
        return [argv[0], *rest]

    def begin(argv: Sequence[str]) -> int:
        if quiet:  # `app.run` has set it to INFO
            logging.set_verbosity(logging.WARNING)
            plain = standard.Formatter("jaxmask: %(message)s")  # not absl's, with time and place
            logging.get_absl_handler().setFormatter(plain)
        if folder := flags.FLAGS.log_dir:
            try:
                logging.get_absl_handler().use_absl_log_file("jaxmask", folder)
            except OSError:
                return tell(f"--log_dir={folder} is no folder that can be written to", 2)
        return main(argv[1:])

    app.run(begin, flags_parser=parse)


def without(arguments: Sequence[str]) -> list[str]:
    """Sets the flags of absl that the arguments name; returns the other arguments.

    Raises:
      InputError: a value is invalid.
    """
    taken = own()
    try:
        return taken(["", *arguments], known_only=True)[1:]
    except (flags.Error, ValueError) as error:
        raise InputError(" ".join(str(error).split())) from None


def own() -> flags.FlagValues:
    """The flags of absl alone; their values are those of `flags.FLAGS`."""
    found = flags.FlagValues()
    found.set_gnu_getopt()
    by_module = flags.FLAGS.flags_by_module_dict()
    for module in MODULES:
        for flag in by_module[module]:
            if flag.name not in LEFT_OUT:
                flags.DEFINE_flag(flag, found, module_name=module)
    return found
