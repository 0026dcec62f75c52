"""Seconds from the command to the first training steps, in fresh processes, by compilation cache.

The command is `python -m jaxmask.main --config=...`, run through `jaxmask.main.main` with three
changes: durations are recorded, the first scan has ten steps, and after it the process ends.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.measure import Result, command, ratio, table
from jaxmask.errors import InputError

CACHES = ("empty", "warm", "off")
PARTS = ("total", "imports", "data", "lower", "compile", "rest")
EVENTS = {
    "/jax/core/compile/jaxpr_to_mlir_module_duration": "lower",
    "/jax/core/compile/backend_compile_duration": "compile",  # or reading it from the cache
}
STEPS = 10


def run(rounds: int = 5, configs: tuple[str, ...] = ("digits", "mnist:dense")) -> list[Result]:
    """Every config with every cache, in turn."""
    rows, results = [], []
    for config in configs:
        found: dict[str, list[dict[str, float]]] = {cache: [] for cache in CACHES}
        try:
            for _ in range(rounds):
                with tempfile.TemporaryDirectory() as folder:
                    for cache in CACHES:
                        kept = "off" if cache == "off" else f"{folder}/xla"
                        found[cache].append(start(config, kept, f"{folder}/{cache}"))
        except InputError as error:
            print(f"{config} is skipped: {error}")
            continue
        totals = {cache: [each["total"] for each in found[cache]] for cache in CACHES}
        medians = {cache: statistics.median(totals[cache]) for cache in CACHES}
        for cache in CACHES:
            parts = [statistics.median(each[part] for each in found[cache]) for part in PARTS]
            slower = "" if cache == "empty" else ratio(totals[cache], totals["empty"])
            rows.append((config, cache, *(f"{part:.2f} s" for part in parts), slower))
        what = f"start of {config} up to the first steps, compilation cache warm, against "
        for other in ("empty", "off"):
            results.append(
                Result(
                    what + other, f"{medians['warm']:.3g} s", f"{medians[other]:.3g} s",
                    ratio(totals["warm"], totals[other]),
                )
            )  # fmt: skip
    print(table(("config", "cache", *PARTS, "against empty"), rows))
    return results


def start(config: str, cache: str, workdir: str) -> dict[str, float]:
    """Seconds by part of one fresh process.

    Args:
      cache: the config's field `compilation_cache`.

    Raises:
      InputError: the config cannot run here; its dataset is not prepared, for example.
    """
    arguments = [
        f"--config={config}", f"--config.compilation_cache={cache}", f"--workdir={workdir}"
    ]  # fmt: skip
    code = f"from benchmarks import start_up; start_up.child({time.time()!r}, {arguments!r})"
    environment = {k: v for k, v in os.environ.items() if k != "JAX_COMPILATION_CACHE_DIR"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parent.parent, env=environment,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode == 2:  # invalid input
        raise InputError(done.stderr.strip())
    if done.returncode:
        raise RuntimeError(f"{config} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def child(began: float, arguments: list[str]) -> None:
    """The process: runs the command, records durations, prints them and exits."""
    import jax

    from jaxmask.cli import run as main
    from jaxmask.run import task
    from jaxmask.train import loop

    spent = {"imports": time.time() - began, "data": 0.0, "lower": 0.0, "compile": 0.0}

    def listen(event: str, duration_secs: float, **_: str | int) -> None:
        if event in EVENTS:
            spent[EVENTS[event]] += duration_secs

    def load_data(config: Any, seed: int) -> Any:
        at = time.time()
        dataset = read(config, seed)
        spent["data"] += time.time() - at
        return dataset

    def cut(steps: int, about: int) -> list[int]:
        return [STEPS, steps - STEPS] if steps > STEPS else [steps]

    def first_scan_done(*_: object, **__: object) -> None:
        total = time.time() - began
        print(json.dumps({"total": total, **spent, "rest": total - sum(spent.values())}))
        sys.stdout.flush()
        os._exit(0)

    jax.monitoring.register_event_duration_secs_listener(listen)
    read, task.load_data = task.load_data, load_data
    loop.cut = cut
    loop.Bar.update = first_scan_done  # type: ignore[method-assign]
    sys.exit(main.main(arguments))


if __name__ == "__main__":
    command(run)
