"""What Ray costs: the 48 runs of configs/prune_digits.py by two workers, against two processes.

The cluster, of this machine, is started before and stays, as clusters do; programs are compiled and
cached before. Both sides are whole commands, from their start to the report, in turn; every worker
and every process has one core.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.measure import Result, command, interleaved, ratio, table

ROUNDS = 3
GRID = ("--config=prune_digits",)


def run(rounds: int = ROUNDS, grid: Sequence[str] = GRID) -> list[Result]:
    """Both sides; one table."""
    try:
        from ray.cluster_utils import Cluster
    except ImportError:
        print("this benchmark needs Ray: pip install -e '.[ray]'")
        return []
    with tempfile.TemporaryDirectory() as folder:
        head = {"num_cpus": 2, "include_dashboard": False}
        cluster = Cluster(initialize_head=True, head_node_args=head)
        try:
            timings = interleaved(
                {
                    "Ray": lambda: swept(folder, grid, RAY_ADDRESS=cluster.address),
                    "two processes": lambda: swept(folder, grid),
                },
                rounds,
            )
        finally:
            cluster.shutdown()
    ours, plain = timings["Ray"], timings["two processes"]
    times = [f"{each.median:.1f} s" for each in (ours, plain)]
    print(table(("side", "the whole grid"), list(zip(timings, times))))
    what = "48 runs of prune_digits by two workers of Ray, against two processes"
    return [Result(what, *times, ratio(ours.seconds, plain.seconds), "1.10")]


def swept(folder: str, grid: Sequence[str], **environment: str) -> None:
    """The grid from its start to its end, in a new folder."""
    place = Path(folder) / str(time.monotonic_ns())
    engine = ["--engine=ray"] if environment else []
    arguments = [sys.executable, "-m", "jaxmask", "sweep", *grid, *engine, f"--workdir={place}"]
    given = {**os.environ, "NPROC": "1", "PJRT_NPROC": "1", **environment}
    started = [
        subprocess.Popen(arguments, env=given, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        for _ in range(1 if engine else 2)
    ]
    for each in started:
        said, _ = each.communicate()
        if each.returncode:
            raise RuntimeError(said.decode())


if __name__ == "__main__":
    command(run)
