"""Where a training step of ResNet-20 spends its time on a CPU, beside PyTorch's, by kind of work.

Both sides run under their own profiler (JAX's, with the operations of the compiled program as XLA
names them; PyTorch's), so their sums are larger than the steps that `benchmarks.networks` times.
Elementwise work is what is left: activations, additions, the optimizer. Set OMP_WAIT_POLICY=PASSIVE
as there. PyTorch comes with the extra `parity`.
"""

import gzip
import json
import re
import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax

from benchmarks.measure import Result, beside_pytorch, command, table
from benchmarks.networks import SCANNED, THREADS, Case, Side, theirs
from benchmarks.training import random_images, training

CASE = Case("resnet20", 32, 64)
KINDS = (
    "convolutions, and gradients to images",
    "gradients of kernels",
    "transposes before these",
    "batch norm's sums",
    "elementwise and the rest",
)
NAMED = re.compile(r"^\s*(?:ROOT )?%?(\S+) = \w+\[([\d,]*)\].*? (\w[\w-]*)\(")
PYTORCH = {
    "aten::mkldnn_convolution": KINDS[0],
    "aten::thnn_conv2d": KINDS[0],
    "aten::convolution_backward": "all gradients of convolutions",
    "aten::native_batch_norm": "batch norm",
    "aten::native_batch_norm_backward": "batch norm",
}


def run(case: Case = CASE) -> list[Result]:
    """One table for each side; milliseconds a step."""
    if not beside_pytorch():
        return []
    import torch

    torch.set_num_threads(THREADS)
    images, labels = random_images(case.batch, (case.pixels, case.pixels, 3))
    mine = ours(case, images, labels)
    sides = {name: side["a training step"] for name, side in theirs(case, images, labels).items()}
    other = {name: by_kind(side) for name, side in sides.items()}
    best = min(other, key=lambda name: sum(other[name].values()))
    for title, found in (("jaxmask", mine), (f"PyTorch, {best}", other[best])):
        rows = [(kind, f"{each:.1f} ms") for kind, each in found.items()]
        rows.append(("together", f"{sum(found.values()):.1f} ms"))
        print(table((title, "a step"), rows), end="\n\n")
    return []


def ours(case: Case, images: Any, labels: Any) -> dict[str, float]:
    """Milliseconds a step by kind of work, from the trace of one scan."""
    made = training(case.network, images, labels, masked=False)
    xs = made.batches(SCANNED, case.batch)
    train, rest = made.programs.train, (made.frozen, made.feed.resident, xs)
    program = train.lower(made.state, *rest).compile()
    kernels = {leaf.size for leaf in jax.tree.leaves(made.state.learned) if leaf.ndim == 4}
    kinds = classified(program.as_text(), kernels)
    state = jax.block_until_ready(program(made.state, *rest))
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            jax.block_until_ready(program(state, *rest))
        (trace,) = Path(folder).rglob("*.trace.json.gz")
        events = json.loads(gzip.decompress(trace.read_bytes()))["traceEvents"]
    found: Counter[str] = Counter(dict.fromkeys(KINDS, 0.0))
    for event in events:
        if event.get("ph") == "X" and event["name"] in kinds:
            found[kinds[event["name"]]] += event["dur"] / 1e3 / SCANNED
    return dict(found)


def classified(text: str, kernels: set[int]) -> dict[str, str]:
    """The kind of work of every instruction that runs by itself, by name.

    Args:
      text: the compiled program. Branches and loops run others, and are left out.
      kernels: the sizes of all kernels of convolutions.
    """
    kinds: dict[str, str] = {}
    inside = False
    for line in text.splitlines():
        if line and not line[0].isspace():
            inside = "fused_computation" in line.split("(")[0]
        match = NAMED.match(line)
        if inside or not match or match[3] in ("while", "conditional", "call", "parameter"):
            continue
        name, shape = match[1], [int(size) for size in match[2].split(",") if size]
        kinds[name] = _kind(name, line, shape, kernels)
    return kinds


def _kind(name: str, line: str, shape: list[int], kernels: set[int]) -> str:
    size = 1
    for each in shape:
        size *= each
    traced = re.search(r'op_name="([^"]*)"', line)
    operation = traced[1].rpartition("/")[2] if traced else ""
    ran_by_library = name.startswith(("ynn", "conv", "dot"))
    if ran_by_library and operation in ("conv_general_dilated", "dot_general"):
        return KINDS[1] if size in kernels else KINDS[0]
    if ran_by_library and operation == "reduce_sum":
        return KINDS[3]
    return KINDS[2] if "copy" in name and len(shape) == 4 else KINDS[4]


def by_kind(step: Side) -> Mapping[str, float]:
    """Milliseconds a step by kind of work, as PyTorch's profiler has it."""
    from torch.profiler import ProfilerActivity, profile

    step()
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        step()
    found: Counter[str] = Counter()
    for event in profiled.key_averages():
        kind = PYTORCH.get(event.key, KINDS[4])
        found[kind] += event.self_cpu_time_total / 1e3 / SCANNED
    return found


if __name__ == "__main__":
    command(run)
