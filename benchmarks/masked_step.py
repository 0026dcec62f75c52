"""A training step with masks (threshold, rescaled, live alpha) against a dense one."""

from collections.abc import Callable

import numpy as np

from benchmarks.measure import Result, command, interleaved, ratio, table
from benchmarks.training import Training, random_images, training

BATCH = 64
CASES = {  # network: image shape, steps per scan, aim
    "lenet_300_100": ((28, 28, 1), 200, 1.10),
    "resnet20": ((32, 32, 3), 4, 1.03),
}


def run(rounds: int = 11, cases: dict = CASES, batch: int = BATCH) -> list[Result]:
    """Both networks, one table."""
    rows, results = [], []
    for network, (shape, steps, aim) in cases.items():
        images = random_images(4 * batch, shape)
        sides = {
            kind: _scan(training(network, *images, masked=kind == "masked"), steps, batch)
            for kind in ("dense", "masked")
        }
        timings = interleaved(sides, rounds)
        dense, masked = timings["dense"], timings["masked"]
        slower = ratio(masked.seconds, dense.seconds)
        milliseconds = {kind: f"{1e3 * t.median / steps:.3g} ms" for kind, t in timings.items()}
        for kind, timing in timings.items():
            compilation = f"{timing.compilation:.1f} s"
            rows.append(
                (network, kind, milliseconds[kind], slower if timing is masked else "", compilation)
            )
        what = f"a masked step of {network}, batch {batch}, against a dense step"
        results.append(
            Result(what, milliseconds["masked"], milliseconds["dense"], slower, f"{aim:.2f}")
        )
    print(table(("network", "step", "median", "masked / dense", "compilation"), rows))
    return results


def _scan(made: Training, steps: int, batch: int) -> Callable[[], None]:
    xs = made.batches(steps, batch)
    state = made.state

    def side() -> None:
        nonlocal state
        state = made.programs.train(state, made.frozen, made.feed.resident, xs)
        assert np.isfinite(state.sums.totals["loss"])  # waits for the scan

    return side


if __name__ == "__main__":
    command(run)
