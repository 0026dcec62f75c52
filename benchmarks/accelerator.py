"""Images per second, and fraction of the accelerator's peak, of masked ResNet training steps.

The peak is that of a large matrix product in the same dtype and with the same default precision,
timed in turn with the steps (for float32 on NVIDIA chips both therefore use TensorFloat-32). The
operations of a step are those of its products and convolutions, counted in the program as traced.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import jaxprs_in_params

from benchmarks.measure import Result, command, interleaved, table
from benchmarks.training import random_images, training

SIDE = 8192  # of the square matrices
PRODUCTS = 20


class Case(NamedTuple):
    """A network, its images, and how many of them."""

    network: str
    size: int
    batch: int
    options: dict[str, Any]


CASES = (
    Case("resnet18", 224, 256, {}),
    Case("resnet18", 32, 1024, {"stem": "cifar"}),
    Case("resnet50", 224, 256, {}),
)


def run(rounds: int = 7) -> list[Result]:
    """Every case in both dtypes; nothing on a CPU."""
    if jax.default_backend() == "cpu":
        print("this benchmark needs an accelerator, but JAX finds none")
        return []
    rows, results = [], []
    for case in CASES:
        for dtype in ("float32", "bfloat16"):
            found = measure(case, dtype, rounds)
            what = f"{case.network}, {case.size} px, {dtype}, batch {case.batch}"
            images = f"{found['images']:,.0f} images/s"
            reached, peak = (f"{found[key] / 1e12:,.1f} TFLOP/s" for key in ("reached", "peak"))
            share = f"{found['reached'] / found['peak']:.1%}"
            gflop = f"{found['flops'] / 1e9:.1f}"
            rows.append((what, images, gflop, reached, peak, share, f"{found['seconds']:.0f} s"))
            text = f"masked steps of {what}: fraction of a matrix product's peak"
            results.append(Result(text, f"{images}, {reached}", peak, share))
    header = (
        "masked steps of",
        "images",
        "GFLOP per image",
        "reached",
        "peak",
        "fraction",
        "compiled",
    )
    print(table(header, rows))
    return results


def measure(
    case: Case, dtype: str, rounds: int, steps: int = 20, side: int = SIDE
) -> dict[str, float]:
    """`images` per second, `flops` per image, `reached` and `peak` FLOP/s, compile seconds."""
    images = random_images(2 * case.batch, (case.size, case.size, 3))
    made = training(case.network, *images, masked=True, dtype=dtype, **case.options)
    xs, state = made.batches(steps, case.batch), made.state
    step: Any = made.programs.step
    traced = jax.make_jaxpr(step)(state, made.frozen, made.feed.resident, xs[0])
    flops = operations(traced.jaxpr) / case.batch

    def train() -> None:
        nonlocal state
        state = made.programs.train(state, made.frozen, made.feed.resident, xs)
        assert np.isfinite(state.sums.totals["loss"])  # waits for the scan

    timings = interleaved({"train": train, "product": products(dtype, side)}, rounds)
    rate = steps * case.batch / timings["train"].median
    return {
        "images": rate,
        "flops": flops,
        "reached": rate * flops,
        "peak": PRODUCTS * 2 * side**3 / timings["product"].median,
        "seconds": timings["train"].compilation,
    }


def operations(jaxpr: Any) -> float:
    """Additions and multiplications of the matrix products and convolutions of a traced program.

    Counted here, because compilers for GPUs do not tell: two for each product. Products with the
    zeros that a strided convolution's gradient puts between numbers are left out.
    """
    count = 0.0
    for equation in jaxpr.eqns:
        parameters, name = equation.params, equation.primitive.name
        shapes = [each.aval.shape for each in equation.invars]
        result = math.prod(equation.outvars[0].aval.shape) if equation.outvars else 0
        if name == "dot_general":
            (contracted, _), _ = parameters["dimension_numbers"]
            count += 2 * result * math.prod(shapes[0][axis] for axis in contracted)
        elif name == "conv_general_dilated":
            _, features, *window = parameters["dimension_numbers"].rhs_spec
            products = math.prod(shapes[1][axis] for axis in (features, *window))
            count += 2 * result * products / math.prod(parameters["lhs_dilation"])
        times = parameters["length"] if name == "scan" else 1
        count += times * sum(map(operations, jaxprs_in_params(parameters)))
    return count


def products(dtype: str, side: int) -> Callable[[], None]:
    """A chain of square matrix products: each multiplies the previous one by the same matrix."""
    a = jax.random.normal(jax.random.key(0), (side, side), dtype) / np.sqrt(side).astype(dtype)
    multiply = jax.jit(jnp.matmul)

    def chain() -> None:
        product = a
        for _ in range(PRODUCTS):
            product = multiply(product, a)
        product.block_until_ready()

    return chain


if __name__ == "__main__":
    command(run)
