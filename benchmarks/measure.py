"""Shared by all benchmarks: interleaved timing, paired ratios, tables, the machine's name."""

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple


class Result(NamedTuple):
    """A line of the summary, as text: what was measured, on which sides, and their ratio."""

    what: str
    jaxmask: str
    against: str
    ratio: str
    aim: str = ""


class Timing(NamedTuple):
    """Seconds of one side: the first call, which compiles, apart from the others."""

    first: float
    seconds: list[float]

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def compilation(self) -> float:
        """How much longer the first call took than the others."""
        return max(self.first - self.median, 0.0)


def interleaved(sides: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, Timing]:
    """Times the sides in turn, `rounds` times each, so that a busy moment affects all of them.

    Every second round runs in reverse. A side must block until its work is done.
    """
    first = {name: _seconds(side) for name, side in sides.items()}
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for round_ in range(rounds):
        for name in list(sides)[:: -1 if round_ % 2 else 1]:
            seconds[name].append(_seconds(sides[name]))
    return {name: Timing(first[name], seconds[name]) for name in sides}


def _seconds(side: Callable[[], Any]) -> float:
    began = time.perf_counter()
    side()
    return time.perf_counter() - began


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> str:
    """The median of the rounds' ratios, and their quartiles if there are enough."""
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    text = f"{statistics.median(ratios):.2f}"
    if len(ratios) < 4:
        return text
    low, _, high = statistics.quantiles(ratios, n=4)
    return f"{text} ({low:.2f} to {high:.2f})"


def table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A Markdown table whose columns are also aligned as plain text."""
    cells = [list(header), *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths)) + " |"
        for row in cells
    ]
    return "\n".join([lines[0], "|" + "|".join("-" * (w + 2) for w in widths) + "|", *lines[1:]])


def beside_pytorch() -> bool:
    """Whether JAX computes on a CPU and PyTorch is installed; prints what is missing."""
    import jax

    if jax.default_backend() != "cpu":
        print("this benchmark needs a CPU: set JAX_PLATFORMS=cpu")
        return False
    try:
        import torch  # noqa: F401
    except ImportError:
        print("this benchmark needs PyTorch: pip install -e '.[parity]'")
        return False
    return True


def machine() -> str:
    """Cores, processor, device and versions. Starts JAX's backend."""
    import jax

    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    device = jax.devices()[0]
    accelerator = "" if device.platform == "cpu" else f", {jax.device_count()} {device.device_kind}"
    return (
        f"{count} cores ({_processor()}){accelerator}, JAX {jax.__version__}, "
        f"Python {platform.python_version()}"
    )


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    for line in information.read_text().splitlines() if information.exists() else []:
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def command(run: Callable[[], list[Result]]) -> None:
    """The command line of one benchmark: prints its table; `--results FILE` saves the lines."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--results", type=Path, help="JSON file for the lines of the summary")
    arguments = parser.parse_args()
    results = run()
    if arguments.results:
        arguments.results.write_text(json.dumps(results))
    else:
        print(machine())
