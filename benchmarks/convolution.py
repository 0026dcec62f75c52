"""Convolutions in a scan on a CPU: as JAX derives them, and in the library's order."""

import jax
import jax.numpy as jnp

from benchmarks.measure import Result, command, interleaved, ratio, table
from jaxmask.convolution import canonical

STEPS = 4


def run(rounds: int = 5, channels: int = 32, size: int = 8, batch: int = 64) -> list[Result]:
    """Gradient steps of four 3x3 convolutions, in one scan; one table."""
    key = jax.random.key(0)
    images = jax.random.normal(key, (batch, size, size, channels))
    kernels = [0.05 * jax.random.normal(key, (3, 3, channels, channels)) for _ in range(4)]

    def loss(kernels: list[jax.Array]) -> jax.Array:
        hidden = images
        for kernel in kernels:
            numbers = ("NHWC", "HWIO", "NHWC")
            hidden = jax.nn.relu(
                jax.lax.conv_general_dilated(
                    hidden, kernel, (1, 1), "SAME", dimension_numbers=numbers
                )
            )
        return jnp.mean(hidden**2)

    def step(kernels: list[jax.Array]) -> list[jax.Array]:
        return jax.tree.map(lambda k, g: k - 0.01 * g, kernels, jax.grad(loss)(kernels))

    def scanned(step):
        scan = jax.jit(
            lambda kernels: jax.lax.scan(lambda k, _: (step(k), None), kernels, length=STEPS)[0]
        )
        return lambda: jax.block_until_ready(scan(kernels))

    timings = interleaved({"jaxmask": scanned(canonical(step)), "plain": scanned(step)}, rounds)
    ours, plain = timings["jaxmask"], timings["plain"]
    slower = ratio(ours.seconds, plain.seconds)
    milliseconds = [f"{1e3 * timing.median / STEPS:.3g} ms" for timing in (ours, plain)]
    print(table(("side", "per step"), list(zip(("canonical order", "as derived"), milliseconds))))
    what = f"a step of four convolutions in a scan, {jax.default_backend()}, against plain JAX"
    return [Result(what, *milliseconds, slower)]


if __name__ == "__main__":
    command(run)
