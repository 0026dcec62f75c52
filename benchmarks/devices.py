"""Selection from 200 million scores on eight devices against one: seconds and bytes of each.

The eight are XLA's host devices, which share the cores; the scores are in three leaves, split along
their first axes. Every side is a process of its own.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

from benchmarks.measure import Result, command, table

SIZES = (2**26, 2**26, 2**26)  # 201 million scores
DENSITY = 0.1


def run(sizes: tuple[int, ...] = SIZES, rounds: int = 5) -> list[Result]:
    """Both sides; one table."""
    found = {devices: measured(devices, sizes, rounds) for devices in (1, 8)}
    rows = [
        (devices, f"{told['seconds']:.2f} s", f"{told['scores'] / 2**20:.0f} MiB",
         f"{told['beside'] / 2**20:.0f} MiB", told["kept"])
        for devices, told in found.items()
    ]  # fmt: skip
    header = ("devices", "keep_top", "scores on each", "beside them", "kept")
    print(table(header, rows))
    one, eight = found[1], found[8]
    what = f"keep_top of {sum(sizes) / 1e6:.0f} million scores on eight host devices, against one"
    seconds = [f"{each['seconds']:.2f} s" for each in (eight, one)]
    ratio = f"{eight['seconds'] / one['seconds']:.2f}"
    memory = [f"{(each['scores'] + each['beside']) / 2**20:,.0f} MiB" for each in (eight, one)]
    share = (eight["scores"] + eight["beside"]) / (one["scores"] + one["beside"])
    return [Result(what, *seconds, ratio), Result("bytes on each device", *memory, f"{share:.3f}")]


def measured(devices: int, sizes: tuple[int, ...], rounds: int) -> dict[str, float]:
    """What a process with that many devices measures."""
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices}"
    ended = subprocess.run(
        [sys.executable, "-m", "benchmarks.devices", f"--worker={json.dumps(sizes)}",
         f"--rounds={rounds}"],
        env={**os.environ, "XLA_FLAGS": flags.strip(), "JAX_PLATFORMS": "cpu"},
        capture_output=True, text=True,
    )  # fmt: skip
    if ended.returncode:
        raise RuntimeError(ended.stderr)
    return json.loads(ended.stdout.splitlines()[-1])


def work(sizes: list[int], rounds: int) -> None:
    """Measures; prints JSON."""
    import jax
    from jax.sharding import NamedSharding
    from jax.sharding import PartitionSpec as P

    from jaxmask import mask

    mesh = jax.make_mesh((jax.device_count(),), ("model",))
    split = NamedSharding(mesh, P("model"))
    draw = jax.jit(jax.random.normal, static_argnums=1, out_shardings=split)
    scores = {str(i): draw(jax.random.key(i), (size,)) for i, size in enumerate(sizes)}
    keep = jax.jit(lambda scores, count: mask.keep_count(scores, count))
    count = mask.allocate(scores, DENSITY)
    program = keep.lower(scores, count).compile()
    taken, kept = [], 0
    for _ in range(rounds + 1):
        began = time.perf_counter()
        masks = jax.block_until_ready(program(scores, count))
        taken.append(time.perf_counter() - began)
        kept = sum(int(leaf.sum()) for leaf in masks.values())
        assert all(leaf.sharding.is_equivalent_to(split, 1) for leaf in masks.values())
    memory = program.memory_analysis()
    found = {"seconds": statistics.median(taken[1:]), "kept": kept,
             "scores": memory.argument_size_in_bytes,
             "beside": memory.temp_size_in_bytes + memory.output_size_in_bytes}  # fmt: skip
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--worker")
    parser.add_argument("--rounds", type=int)
    given, _ = parser.parse_known_args()
    if given.worker:
        work(json.loads(given.worker), given.rounds)
    else:
        command(run)
