"""Peak memory of a training step of ResNet-50 at 224 pixels, masked and dense.

Each side is compiled (and on an accelerator run) in its own process. The compiler's figure is
temporary + argument + output - aliased bytes of the scan that training runs; on an accelerator the
allocator's peak is shown too.
"""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.measure import Result, command, table

KINDS = ("temp", "argument", "output", "alias")


def run(network: str = "resnet50", size: int = 224) -> list[Result]:
    """Both sides, one table."""
    found = {}
    for side in ("dense", "masked"):
        code = f"from benchmarks import memory; memory.child({network!r}, {size}, {side!r})"
        found[side] = json.loads(
            subprocess.run(
                [sys.executable, "-c", code], cwd=Path(__file__).parent.parent,
                check=True, stdout=subprocess.PIPE, text=True,
            ).stdout.splitlines()[-1]
        )  # fmt: skip
    batch = found["dense"]["batch"]
    what = f"{network}, {size} px, batch {batch}"
    print(f"Memory of a training step in MiB, {what}")
    header = ("step", *KINDS, "total", "allocator's peak", "compilation")
    print(table(header, [(side, *_cells(values)) for side, values in found.items()]))
    results = []
    for key, name in (("all", "memory by the compiler"), ("peak", "the allocator's peak")):
        dense, masked = found["dense"][key], found["masked"][key]
        if dense:
            text = f"{name}: a masked step of {what}, against a dense step"
            ratio = f"{masked / dense:.3f}"
            results.append(Result(text, f"{_mib(masked)} MiB", f"{_mib(dense)} MiB", ratio))
    return results


def measure(network: str, size: int, masked: bool, batch: int = 0) -> dict[str, float]:
    """Bytes by kind, in total and at the allocator's peak (0 if unknown), seconds.

    Args:
      batch: 0 is 8 on a CPU and 64 on an accelerator.
    """
    import jax

    from benchmarks.training import random_images, training

    batch = batch or (8 if jax.default_backend() == "cpu" else 64)
    made = training(network, *random_images(batch, (size, size, 3)), masked=masked)
    arguments = (made.state, made.frozen, made.feed.resident, made.batches(2, batch))
    began = time.perf_counter()
    train: Any = made.programs.train
    compiled = train.lower(*arguments).compile()
    seconds = time.perf_counter() - began
    analysis = compiled.memory_analysis()
    sizes = {kind: getattr(analysis, f"{kind}_size_in_bytes") for kind in KINDS}
    peak = 0
    if jax.default_backend() != "cpu":
        jax.block_until_ready(compiled(*arguments))
        peak = (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use", 0)
    total = sum(sizes.values()) - 2 * sizes["alias"]
    return {**sizes, "all": total, "peak": peak, "batch": batch, "seconds": seconds}


def child(network: str, size: int, side: str) -> None:
    """What the process of one side does: prints its `measure` as JSON."""
    print(json.dumps(measure(network, size, side == "masked")))


def _cells(values: dict[str, float]) -> list[str]:
    sizes = [_mib(values[kind]) for kind in KINDS]
    peak = _mib(values["peak"]) if values["peak"] else "unknown"
    return [*sizes, _mib(values["all"]), peak, f"{values['seconds']:.0f} s"]


def _mib(count: float) -> str:
    return f"{count / 2**20:,.0f}"


if __name__ == "__main__":
    command(run)
