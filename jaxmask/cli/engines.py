"""The flags by which a command names the engine that carries out its runs."""

import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

from absl import flags

from jaxmask.cli.ending import exit_status
from jaxmask.errors import InputError

T = TypeVar("T")
FLAGS = (
    ("--engine=ray[://HOST:PORT]", "by the workers of a Ray cluster: of this machine, of "
     "RAY_ADDRESS, or behind Ray's client server"),
    ("--worker_gpus=1", "accelerators of each worker, or a fraction of one; 0 is none"),
    ("--worker_cpus=1", "cores of each worker"),
)  # fmt: skip
DISTRIBUTED = (
    ("--distributed=auto", "one run on many hosts, each of which has this command; or "
     "HOST:PORT,COUNT,INDEX: of the first of them, their number, and which this is"),
)  # fmt: skip
LOST = "the Ray cluster was lost; the same command goes on, once there is one"


HOST_LOST = "a host of this run was lost; the same command on all of them goes on"


class Engine(NamedTuple):
    """A Ray cluster: its address ("" finds or starts one), and what a worker uses of its node."""

    address: str = ""
    cpus: int | None = None
    gpus: float | None = None


def taken(
    parse: Callable[[Sequence[str]], tuple[T, list[str]]], arguments: Sequence[str]
) -> tuple[int, T, list[str]]:
    """The exit status, not 0 if `parse` refuses the arguments, and what it takes and leaves."""
    found: list[Any] = [None, []]

    def work() -> None:
        found[:] = parse(arguments)

    status = exit_status(work, str, lambda: "; nothing was started")
    return status, found[0], found[1]


def parse(arguments: Sequence[str]) -> tuple[Engine | None, list[str]]:
    """The engine that the arguments name, if any, and the other arguments.

    Raises:
      InputError: there is no such engine, or a worker's share is invalid or has no engine.
    """
    given = flags.FlagValues()
    given.set_gnu_getopt()
    flags.DEFINE_string("engine", None, "", given)
    flags.DEFINE_float("worker_gpus", None, "", 0.0, None, given)
    flags.DEFINE_integer("worker_cpus", None, "", 1, None, given)
    try:
        rest = given(["", *arguments], known_only=True)[1:]
    except flags.Error as error:
        raise InputError(" ".join(str(error).split())) from None
    if given.engine is None:
        if given.worker_gpus is not None or given.worker_cpus is not None:
            raise InputError("--worker_gpus and --worker_cpus are of --engine=ray; give that, too")
        return None, rest
    if given.engine == "ray":
        return Engine("", given.worker_cpus, given.worker_gpus), rest
    if re.fullmatch(r"ray://[^/]+", given.engine):
        return Engine(given.engine, given.worker_cpus, given.worker_gpus), rest
    raise InputError(f"--engine={given.engine} is none; give ray, or ray://HOST:PORT")


def distributed(arguments: Sequence[str]) -> tuple[str | None, list[str]]:
    """How the hosts of one run find each other, if it has many, and the other arguments.

    Raises:
      InputError: the flag has no value.
    """
    given = flags.FlagValues()
    given.set_gnu_getopt()
    flags.DEFINE_string("distributed", None, "", given)
    try:
        rest = given(["", *arguments], known_only=True)[1:]
    except flags.Error as error:
        raise InputError(" ".join(str(error).split())) from None
    return given.distributed, rest
