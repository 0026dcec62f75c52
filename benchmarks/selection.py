"""Exact selection from 25 million scores, against PyTorch, NumPy and a sort; and its memory.

The other sides find the k-th largest score and compare: that suffices if no two scores are equal,
and then the masks must agree. If scores tie, only jaxmask keeps the exact count.
PyTorch comes with the extra `parity`; without it, its sides are left out.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.measure import Result, command, interleaved, ratio, table
from jaxmask import mask

Side = Callable[[], Any]  # returns the mask, as an array of its library


def distinct(size: int) -> np.ndarray:
    """Distinct float32 scores, about normal, shuffled."""
    random = np.random.default_rng(0)
    drawn = np.unique(random.standard_normal(size + size // 2).astype(np.float32))
    return random.permutation(drawn)[:size]


def cases(size: int) -> dict[str, np.ndarray]:
    """Scores without ties, all tied, and half tied."""
    scores = distinct(size)
    zeros = np.random.default_rng(1).random(size) < 0.5
    return {
        "no two equal": scores,
        "all equal": np.zeros(size, np.float32),
        "half zeros": np.where(zeros, np.float32(0), np.abs(scores)),
    }


def sides_of(scores: np.ndarray, density: float, threads: tuple[int, ...]) -> dict[str, Side]:
    """One side per library; for PyTorch, one per number of threads."""
    removed = scores.size - int(mask.allocate(scores, density))
    resident = jax.block_until_ready(jnp.asarray(scores))

    def jaxmask() -> jax.Array:
        return jax.block_until_ready(mask.keep_top(resident, density))

    def numpy() -> np.ndarray:
        return scores >= np.partition(scores, removed)[removed]

    sides: dict[str, Side] = {"jaxmask": jaxmask, "np.partition": numpy}
    try:
        import torch
    except ImportError:
        return sides
    tensor = torch.from_numpy(scores)

    def kthvalue(number: int) -> Any:
        torch.set_num_threads(number)
        return tensor >= torch.kthvalue(tensor, removed + 1).values

    return sides | {f"torch, {number} threads": partial(kthvalue, number) for number in threads}


def sorting(scores: np.ndarray, density: float) -> Side:
    """The same by a sort, as one compiled program."""
    removed = scores.size - int(mask.allocate(scores, density))
    resident = jnp.asarray(scores)
    program = jax.jit(lambda s: s >= jnp.sort(s)[removed])
    return lambda: jax.block_until_ready(program(resident))


def copies(size: int, dtype: Any = jnp.float32) -> float:
    """What keep_top allocates besides the scores, including its result, in copies of the scores."""
    scores = jax.ShapeDtypeStruct((size,), dtype)
    keep = jax.jit(lambda scores, count: mask.keep_count(scores, count))
    analysis = keep.lower(scores, jnp.int32(size // 2)).compile().memory_analysis()
    allocated = analysis.temp_size_in_bytes + analysis.output_size_in_bytes
    return allocated / (size * scores.dtype.itemsize)


def run(
    rounds: int = 11,
    size: int = 25_000_000,
    densities: tuple[float, ...] = (0.1, 0.5),
    threads: tuple[int, ...] = (1, 2),
) -> list[Result]:
    """Each case at each density; the sort once, without ties, as it takes many seconds."""
    results: list[Result] = []
    for case, scores in cases(size).items():
        for density in densities:
            results += compare(case, scores, density, rounds, threads)
    scores = distinct(size)
    sides = {"jaxmask": sides_of(scores, densities[0], ())["jaxmask"]}
    sides["jnp.sort"] = sorting(scores, densities[0])
    timings = interleaved(sides, 1)
    mine, sort = timings["jaxmask"], timings["jnp.sort"]
    text = f"keep_top of {size:,} scores, {densities[0]} kept, against jnp.sort"
    pair = ratio(mine.seconds, sort.seconds)
    results.append(Result(text, f"{mine.median:.3g} s", f"{sort.median:.3g} s", pair, "0.05"))
    print(f"{text}: {mine.median:.3g} s, {sort.median:.3g} s")
    for dtype in ("float32", "bfloat16"):
        text = f"memory of keep_top besides {dtype} scores, in copies of them"
        results.append(Result(text, f"{copies(size, jnp.dtype(dtype)):.2f}", "", "", "2"))
        print(f"{text}: {results[-1].jaxmask}")
    return results


def compare(
    case: str, scores: np.ndarray, density: float, rounds: int, threads: tuple[int, ...]
) -> list[Result]:
    """The sides interleaved: a table, and a line against NumPy and against PyTorch's fastest."""
    sides = sides_of(scores, density, threads)
    chosen = {name: np.asarray(side()) for name, side in sides.items()}
    assert chosen["jaxmask"].sum() == mask.allocate(scores, density)
    if case == "no two equal":
        for name, bits in chosen.items():
            assert (bits == chosen["jaxmask"]).all(), f"{name} keeps other scores"
    timings = interleaved(sides, rounds)
    mine = timings.pop("jaxmask")
    what = f"keep_top of {scores.size:,} scores, {case}, {density} kept"
    print(what)
    rows = [("jaxmask", f"{1e3 * mine.median:.1f} ms", "")]
    for name, timing in timings.items():
        rows.append((name, f"{1e3 * timing.median:.1f} ms", ratio(mine.seconds, timing.seconds)))
    print(table(("side", "median", "jaxmask / side"), rows))
    torch = [name for name in timings if name.startswith("torch")]
    fastest = sorted(torch, key=lambda name: timings[name].median)[:1]
    results = []
    for name in ["np.partition", *fastest]:
        other = timings[name]
        pair = ratio(mine.seconds, other.seconds)
        aim = "1.00" if name in torch and case == "no two equal" else ""
        text = f"{what}, against {name.replace('torch', 'torch.kthvalue')}"
        results.append(Result(text, f"{mine.median:.3g} s", f"{other.median:.3g} s", pair, aim))
    return results


if __name__ == "__main__":
    command(run)
