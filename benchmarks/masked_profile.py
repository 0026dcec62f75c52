"""Where a masked step of LeNet-300-100 spends what a dense step does not.

Whole steps (rescaled with a live alpha, with a constant one, not rescaled) and the passes over the
weights that masks add, each alone in a scan over arrays of the same sizes. All are interleaved with
the dense step, so that their shares of it can be added up. The sum is near the masked step's, not
equal to it: within a step, passes overlap and find other arrays in the cache.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.masked_step import BATCH, CASES, _scan
from benchmarks.measure import Result, Timing, command, interleaved, ratio, table
from benchmarks.training import random_images, training
from jaxmask.mask.transform import _count

NETWORK = "lenet_300_100"
KERNELS = ((784, 300), (300, 100))  # those with masks; the head has none
STEPS = {  # masked step: its `rescale`
    "masked": True,
    "masked, alpha constant": "constant",
    "masked, not rescaled": False,
}
# (scores or gradients, weights, what it wrote last) of a leaf -> what it writes
Pass = Callable[[jax.Array, jax.Array, jax.Array], jax.Array]
PASSES: dict[str, tuple[Pass, int, int]] = {  # a pass, arrays it reads, arrays it writes
    "copy": (lambda x, w, last: last + 1, 1, 1),
    "threshold and product": (lambda x, w, last: jnp.where(x > 0, w, 0) * 1.5, 2, 1),
    "count": (lambda x, w, last: last + _count((x > 0).astype(x.dtype)), 1, 0),
    "gradient of alpha": (lambda x, w, last: last + jnp.sum(x * w), 2, 0),
    "momentum, dense": (lambda x, w, last: 0.9 * last + x, 2, 1),
    "momentum, masked": (lambda x, w, last: 0.9 * last + (w * (x * 1.5) + 0.1), 3, 1),
}
ADDED = ("threshold and product", "count", "gradient of alpha")


def run(rounds: int = 21, steps: int = 200) -> list[Result]:
    """Two tables: whole steps, then single passes."""
    sides = {"dense": _step(steps, masked=False)}
    sides |= {name: _step(steps, rescale=rescale) for name, rescale in STEPS.items()}
    sides |= {name: _pass(name, steps) for name in PASSES}
    timings = interleaved(sides, rounds)
    _print(timings, steps)
    dense = timings["dense"].seconds
    parts = map(sum, zip(*(_added(timings, name) for name in (*ADDED, "momentum"))))
    what = f"a step of {NETWORK}, batch {BATCH}, against a dense step"
    times = {name: _milliseconds(timing, steps) for name, timing in timings.items()}
    results = [
        Result(f"{name}: {what}", times[name], times["dense"], ratio(timings[name].seconds, dense))
        for name in STEPS
    ]
    whole = ratio([step + part for step, part in zip(dense, parts)], dense)
    print(f"\na dense step and the passes that masks add, of a dense step: {whole}")
    return results


def _print(timings: dict[str, Timing], steps: int) -> None:
    dense = timings["dense"].seconds
    whole = {name: timings[name] for name in ("dense", *STEPS)}
    rows = [(name, _milliseconds(t, steps), ratio(t.seconds, dense)) for name, t in whole.items()]
    print(table(("step", "median", "of a dense step"), rows) + "\n")
    size = sum(height * width * 4 for height, width in KERNELS)
    passes = []
    for name, (_, reads, writes) in PASSES.items():
        moved, seconds = (reads + writes) * size, timings[name].median / steps
        time, speed = f"{1e6 * seconds:.0f} us", f"{moved / seconds / 1e9:.0f} GB/s"
        share = ratio(timings[name].seconds, dense)
        passes.append((name, time, f"{moved / 1e6:.1f} MB", speed, share))
    print(table(("pass", "median", "moved", "speed", "of a dense step"), passes))


def _added(timings: dict[str, Timing], name: str) -> list[float]:
    """Seconds that a pass adds to each round."""
    if name in timings:
        return timings[name].seconds
    ours, theirs = timings[f"{name}, masked"], timings[f"{name}, dense"]
    return [a - b for a, b in zip(ours.seconds, theirs.seconds)]


def _milliseconds(timing: Timing, steps: int) -> str:
    return f"{1e3 * timing.median / steps:.3g} ms"


def _step(steps: int, masked: bool = True, rescale: Any = True) -> Callable[[], None]:
    images = random_images(4 * BATCH, CASES[NETWORK][0])
    return _scan(training(NETWORK, *images, masked=masked, rescale=rescale), steps, BATCH)


def _pass(name: str, steps: int) -> Callable[[], None]:
    function, _, writes = PASSES[name]

    @partial(jax.jit, donate_argnums=0)
    def scan(state: Any, weights: list[jax.Array]) -> Any:
        def body(state: Any, step: jax.Array) -> tuple[Any, None]:
            # One element of each array is new, or XLA would do the pass once, before the loop.
            new = [(x.at[0, 0].set(step), last) for x, last in state]
            return [(x, function(x, w, last)) for (x, last), w in zip(new, weights)], None

        return jax.lax.scan(body, state, jnp.linspace(0.0, 1.0, steps))[0]

    weights, values = ([jax.random.normal(jax.random.key(i), s) for s in KERNELS] for i in (0, 1))
    state = [(x, jnp.zeros(x.shape if writes else ())) for x in values]

    def side() -> None:
        nonlocal state
        state = jax.block_until_ready(scan(state, weights))

    return side


if __name__ == "__main__":
    command(run)
