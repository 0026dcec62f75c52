"""Random views of a batch (SwAV's two large and six small), against the network that takes them."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.measure import Result, command, interleaved, ratio, table
from benchmarks.training import random_images
from jaxmask import data, model
from jaxmask.loss import cross_entropy

BATCH = 64
AIM = 0.10  # of the network's time


def run(
    rounds: int = 9, network: str = "resnet20", side: int = 32, batch: int = BATCH
) -> list[Result]:
    """The views of one batch, and the network's forward and backward pass on them."""
    images, _ = random_images(batch, (side, side, 3))
    images = jnp.asarray(images)
    large, small = data.view_sizes(side)
    make = jax.jit(data.views(mean=(0.5,), std=(0.25,), large_size=large, small_size=small))
    key = jax.random.key(0)
    sides: dict[str, Callable[[], Any]] = {
        "the views": lambda: jax.block_until_ready(make(key, images)),
        f"{network}, forward and backward": gradients(network, make.eval_shape(key, images)),
    }
    views, learning = (timings := interleaved(sides, rounds)).values()
    share = ratio(views.seconds, learning.seconds)
    rows = [
        (name, f"{1e3 * timing.median:,.1f} ms", f"{timing.compilation:.1f} s")
        for name, timing in timings.items()
    ]
    header = f"2 x {large} px and 6 x {small} px of {batch} images"
    print(table((header, "median", "compilation"), rows))
    print(f"the views take {share} of the network's time")
    what = f"views (2 x {large} px, 6 x {small} px) of {batch} images, against {network} on them"
    return [Result(what, rows[0][1], rows[1][1], share, f"{AIM:.2f}")]


def gradients(network: str, groups: tuple[jax.ShapeDtypeStruct, ...]) -> Callable[[], Any]:
    """The gradient of a loss on random pixels for all weights; groups are [views, B, S, S, C]."""
    key = jax.random.key(0)
    pixels = [jax.random.normal(key, (x.shape[0] * x.shape[1], *x.shape[2:])) for x in groups]
    module = model.create(network, classes=10)
    variables = model.initialize(module, jax.random.key(1), pixels[0].shape[1:])
    apply = model.apply_function(module)

    @jax.jit
    @jax.grad
    def gradient(params, batch_stats, pixels):
        logits = [apply(params, batch_stats, x, True)[0] for x in pixels]
        return jnp.concatenate([cross_entropy(x, jnp.zeros(len(x), int)) for x in logits]).mean()

    arguments = variables["params"], variables["batch_stats"], pixels
    return lambda: jax.block_until_ready(gradient(*arguments))


if __name__ == "__main__":
    command(run)
