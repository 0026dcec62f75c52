"""One training by one, two and four processes of this machine, and what many hosts would need.

A masked ResNet-20, batches of 64 images in all, split among processes of one thread each (one
process alone: with one, and with two). They share the cores, so this is what hosts add, not what
they gain. The second table is a simulation: the step that one process takes for its 64 images, and
the all-reduce of a ring with the latency and the bandwidth measured between two processes here.
"""

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.measure import Result, command, table

BATCH, STEPS, ROUNDS = 64, 4, 7
SIZES = (1, 2**24)  # float32 numbers of an all-reduce: for its latency, and for its bandwidth
HOSTS = (2, 4, 8, 16, 64)


def run(network: str = "resnet20", rounds: int = ROUNDS) -> list[Result]:
    """Both tables."""
    cases = ((1, 2), (1, 1), (2, 1), (4, 1))  # processes, threads of each
    found = {case: measured(*case, network, rounds) for case in cases}
    alone = found[1, 2]
    rows, results = [], []
    for (count, threads), told in found.items():
        share = f"{told['step'] / alone['step']:.2f}"
        same = f"{abs(told['loss'] / alone['loss'] - 1):.1e}"
        milliseconds = f"{1e3 * told['step']:.1f} ms"
        rows.append((count, threads, milliseconds, share, same))
        if count > 1:
            what = (
                f"a masked step of {network} by {count} processes of one thread, against one of two"
            )
            results.append(Result(what, milliseconds, f"{1e3 * alone['step']:.1f} ms", share))
    header = ("processes", "threads of each", "a step", "against one", "loss differs by")
    print(table(header, rows), end="\n\n")
    print(table(("hosts (simulated)", "a step", "efficiency"), simulated(found[1, 1], found[2, 1])))
    return results


def simulated(one: dict[str, float], two: dict[str, float]) -> list[tuple[Any, ...]]:
    """Steps of as many images a host, with all the all-reduces of a step as rings.

    Each takes `2 (N - 1)` messages, of a part of 1 / N of its numbers.
    """
    latency = two["reduce 0"] / 2
    bandwidth = 4 * SIZES[1] / max(two["reduce 1"] - two["reduce 0"], 1e-9)  # of 2 (N - 1) / N = 1
    rows = []
    for count in HOSTS:
        messages = 2 * (count - 1)
        reduces = messages * (two["reduces"] * latency + one["bytes"] / count / bandwidth)
        step = one["step"] + reduces
        rows.append((count, f"{1e3 * step:.1f} ms", f"{one['step'] / step:.0%}"))
    return rows


def measured(count: int, threads: int, network: str, rounds: int) -> dict[str, float]:
    """What the first of the processes measures."""
    with socket.socket() as made:
        made.bind(("localhost", 0))
        address = f"localhost:{made.getsockname()[1]}"
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "benchmarks.hosts", f"--worker={address},{count},{index}",
             f"--network={network}", f"--rounds={rounds}"],
            env={**os.environ, "NPROC": str(threads), "PJRT_NPROC": str(threads)},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for index in range(count)
    ]  # fmt: skip
    told = [each.communicate() for each in started]
    if any(each.returncode for each in started):
        raise RuntimeError(told[0][1])
    return json.loads(told[0][0].splitlines()[-1])


def work(how: str, network: str, rounds: int) -> None:
    """Measures as one of the processes; prints JSON."""
    import jax
    from jax.sharding import NamedSharding
    from jax.sharding import PartitionSpec as P

    from benchmarks.training import random_images, training
    from jaxmask import hosts
    from jaxmask.train import feed, placement

    hosts.begin(how)
    made = training(network, *random_images(BATCH, (32, 32, 3)), masked=True)
    xs, state = made.batches(STEPS, BATCH), made.state

    def step() -> None:
        nonlocal state
        state = made.programs.train(state, made.frozen, made.feed.resident, xs)
        jax.block_until_ready(state)

    lowered = made.programs.train.lower(state, made.frozen, made.feed.resident, xs)
    found = {"reduces": lowered.compile().as_text().count("all-reduce(")}
    found["step"] = _seconds(step, rounds) / STEPS
    found["loss"] = state.sums.means()["loss"]
    found["bytes"] = sum(leaf.nbytes for leaf in jax.tree.leaves(made.state.learned))
    mesh = feed.make_mesh()
    across = NamedSharding(mesh, P("data"))
    total = jax.jit(lambda x: x.sum(0), out_shardings=NamedSharding(mesh, P()))
    for place, size in enumerate(SIZES):
        x = placement.put(np.ones((jax.device_count(), size), np.float32), across)
        found[f"reduce {place}"] = _seconds(lambda x=x: jax.block_until_ready(total(x)), rounds)
    print(json.dumps(found), flush=True)
    hosts.end()


def _seconds(call: Callable[[], Any], rounds: int) -> float:
    call()  # compiles
    taken = []
    for _ in range(rounds):
        began = time.perf_counter()
        call()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--worker")
    parser.add_argument("--network")
    parser.add_argument("--rounds", type=int)
    given, _ = parser.parse_known_args()
    if given.worker:
        work(given.worker, given.network, given.rounds)
    else:
        command(run)
