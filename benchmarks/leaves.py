"""Selection by number of leaves: compiling and running, beside concatenating and sorting.

`keep_top` of trees of 10 to 400 leaves, of equal and of different shapes, and a training step with
`top_k` beside one with `threshold`. Every program is compiled anew, without the cache on disk.
"""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.measure import Result, command, interleaved, ratio, table
from jaxmask import mask

DENSITY = 0.5
SIDE = 48
COUNTS = (10, 25, 50, 100, 200, 400)


class Program(NamedTuple):
    """A compiled program, the seconds that took, and its arguments."""

    compiled: Callable[..., Any]
    seconds: float
    arguments: tuple[Any, ...]

    def __call__(self) -> None:
        jax.block_until_ready(self.compiled(*self.arguments))


def tree(leaves: int, shapes: str) -> dict[str, jax.Array]:
    """Square kernels of one shape, or of sides that differ."""
    random = np.random.default_rng(0)
    sides = [SIDE if shapes == "equal" else SIDE - 16 + index % 33 for index in range(leaves)]
    rows = [SIDE if shapes == "equal" else 16 + index // 33 for index in range(leaves)]
    drawn = [random.standard_normal(shape, np.float32) for shape in zip(rows, sides)]
    return {f"layer{index:03}": jnp.asarray(leaf) for index, leaf in enumerate(drawn)}


def program(function: Callable[..., Any], *arguments: Any) -> Program:
    """Traced, lowered and compiled, which is timed."""
    began = time.perf_counter()
    compiled = jax.jit(function).lower(*arguments).compile()
    return Program(compiled, time.perf_counter() - began, arguments)


def sorting(scores: dict[str, jax.Array]) -> dict[str, jax.Array]:
    """The same by concatenating and sorting, if no two scores are equal."""
    flat = jnp.concatenate([leaf.reshape(-1) for leaf in scores.values()])
    cut = jnp.sort(flat)[flat.size - int(mask.allocate(scores, DENSITY))]
    return {name: leaf >= cut for name, leaf in scores.items()}


def step(transform: mask.MaskTransform) -> Callable[..., Any]:
    """A step of plain gradient descent on the scores of a chain of layers of equal width."""

    def loss(scores: Any, weights: Any, x: jax.Array) -> jax.Array:
        for kernel in transform.apply(scores, weights).values():
            x = jnp.tanh(x @ kernel)
        return jnp.mean(x**2)

    def descend(scores: Any, weights: Any, x: jax.Array) -> Any:
        gradients = jax.grad(loss)(scores, weights, x)
        return jax.tree.map(lambda s, g: s - 0.1 * g, scores, gradients)

    return descend


def run(rounds: int = 11, leaves: tuple[int, ...] = COUNTS) -> list[Result]:
    """Both tables; the summary tells of the largest tree but one, whose aim is 2 s."""
    cache = jax.config.jax_enable_compilation_cache
    jax.config.update("jax_enable_compilation_cache", False)
    try:
        return selection(rounds, leaves) + steps(rounds, leaves)
    finally:
        jax.config.update("jax_enable_compilation_cache", cache)


def selection(rounds: int, leaves: tuple[int, ...]) -> list[Result]:
    rows, results = [], []
    for shapes in ("equal", "different"):
        for number in leaves:
            scores = tree(number, shapes)
            sides = {
                scope: program(lambda s, scope=scope: mask.keep_top(s, DENSITY, scope), scores)
                for scope in ("global", "layer")
            }
            sides["sort"] = program(sorting, scores)
            rows.append((number, shapes, *compared(sides, rounds)))
            if number == 200 or len(leaves) == 1:
                text = f"compiling keep_top of {number} leaves of {shapes} shapes, against a sort"
                results.append(compilation(text, sides["global"], sides["sort"], "2 s"))
    header = ("leaves", "shapes", *(f"{s}: {what}" for s in sides for what in ("compile", "run")))
    print(table(header, rows))
    return results


def steps(rounds: int, leaves: tuple[int, ...]) -> list[Result]:
    rows, results = [], []
    for number in leaves:
        weights = tree(number, "equal")
        x = jnp.ones((8, SIDE))
        sides = {
            name: program(step(transform), weights, weights, x)
            for name, transform in (
                ("top_k", mask.top_k(DENSITY)),
                ("threshold", mask.threshold()),
            )
        }
        rows.append((number, *compared(sides, rounds)))
        if number == 200 or len(leaves) == 1:
            text = f"compiling a top_k step of {number} leaves, against threshold"
            results.append(compilation(text, sides["top_k"], sides["threshold"], ""))
    print(table(("leaves", *(f"{s}: {what}" for s in sides for what in ("compile", "run"))), rows))
    return results


def compared(sides: dict[str, Program], rounds: int) -> list[str]:
    """Of each side, the seconds to compile it and the median milliseconds to run it."""
    timings = interleaved(sides, rounds)
    cells = []
    for name, side in sides.items():
        cells += [f"{side.seconds:.2f} s", f"{1e3 * timings[name].median:.2f} ms"]
    return cells


def compilation(text: str, mine: Program, other: Program, aim: str) -> Result:
    pair = ratio([mine.seconds], [other.seconds])
    return Result(text, f"{mine.seconds:.2f} s", f"{other.seconds:.2f} s", pair, aim)


if __name__ == "__main__":
    command(run)
