"""One epoch of LeNet-300-100 on MNIST, batch 64, SGD, as three programs that do the same work.

Every side reshuffles, gathers uint8 images on the device, normalizes them, takes steps on a cosine
schedule, and sums loss and correct predictions; at the end their losses are compared.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.measure import Result, command, interleaved, ratio, table
from benchmarks.training import random_images, training
from jaxmask import data
from jaxmask.errors import InputError
from jaxmask.train import cost, feed

RATE = 0.01
Side = Callable[[], float]  # one epoch; returns its mean loss


def library(images: np.ndarray, labels: np.ndarray, batch: int, steps: int) -> tuple[Side, Any]:
    """What jaxmask runs: its compiled scans, over its feed. Also returns the initial weights."""
    made = training(
        "lenet_300_100", images, labels, masked=False, optimizer="sgd", rate=RATE, steps=steps
    )
    state, epoch = made.state, 0
    start = jax.tree.map(jnp.copy, state.learned["train"])
    x = made.batches(1, batch)[0]
    about = cost.scan_steps(made.programs.step, state, made.frozen, made.feed.resident, x)

    def side() -> float:
        nonlocal state, epoch
        state = state._replace(sums=jax.tree.map(jnp.zeros_like, state.sums))
        order = feed.shuffled_order(0, epoch, made.feed.examples, batch)
        for xs in made.feed.chunks(order, feed.cut(len(order), about)):
            state = made.programs.train(state, made.frozen, made.feed.resident, xs)
        epoch += 1
        return state.sums.means()["loss"]

    return side, start


def by_hand(
    images: np.ndarray, labels: np.ndarray, batch: int, steps: int, start: Any, scanned: bool
) -> Side:
    """What one would write without a library: a bare `lax.scan`, or a loop over jitted steps."""
    resident = jax.device_put((images, np.asarray(labels, np.int32)))

    def loss_of(weights: Any, x: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array]:
        for name in ("fc1", "fc2"):
            x = jax.nn.relu(x @ weights[name]["kernel"] + weights[name]["bias"])
        logits = x @ weights["head"]["kernel"] + weights["head"]["bias"]
        picked = jnp.take_along_axis(jax.nn.log_softmax(logits), y[:, None], axis=1)
        return -picked.mean(), (logits.argmax(axis=1) == y).sum()

    def step(carry: Any, resident: Any, index: jax.Array) -> Any:
        weights, count, loss_sum, correct_sum = carry
        x = ((resident[0][index] - 127.5) * (1 / 63.75)).reshape(len(index), -1)
        (loss, correct), gradient = jax.value_and_grad(loss_of, has_aux=True)(
            weights, x, resident[1][index]
        )
        rate = RATE * 0.5 * (1 + jnp.cos(jnp.pi * jnp.minimum(count / steps, 1)))
        weights = jax.tree.map(lambda w, g: w - rate * g, weights, gradient)
        return weights, count + 1, loss_sum + loss * len(index), correct_sum + correct

    @partial(jax.jit, donate_argnums=0)
    def scan(carry: Any, resident: Any, order: jax.Array) -> Any:
        return jax.lax.scan(lambda c, i: (step(c, resident, i), None), carry, order)[0]

    jitted = jax.jit(step, donate_argnums=0)
    carry: Any = (jax.tree.map(jnp.copy, start), jnp.int32(0), None, None)
    random = np.random.default_rng(0)

    def side() -> float:
        nonlocal carry
        order = random.permutation(len(labels)).astype(np.int32)
        order = order[: len(labels) // batch * batch].reshape(-1, batch)
        carry = (*carry[:2], jnp.float32(0), jnp.int32(0))
        if scanned:
            carry = scan(carry, resident, order)
        else:
            for index in order:
                carry = jitted(carry, resident, index)
        return float(carry[2]) / order.size

    return side


def run(rounds: int = 11, examples: int | None = None, batch: int = 64) -> list[Result]:
    """Three sides, interleaved. `examples`: use this many random images instead of MNIST."""
    images, labels, what = mnist(examples)
    steps = (rounds + 1) * (len(labels) // batch)
    ours, start = library(images, labels, batch, steps)
    sides: dict[str, Side] = {"jaxmask": ours}
    for name, scanned in (("a bare lax.scan", True), ("a loop over jitted steps", False)):
        sides[name] = by_hand(images, labels, batch, steps, start, scanned)
    losses: dict[str, list[float]] = {name: [] for name in sides}
    timings = interleaved(
        {name: partial(_keep, side, losses[name]) for name, side in sides.items()}, rounds
    )
    final = {name: values[-1] for name, values in losses.items()}
    assert max(final.values()) < 1.05 * min(final.values()), f"the sides differ: {final}"
    print(f"One epoch, {what}, batch {batch}")
    rows, results = [], []
    mine = timings["jaxmask"]
    for name, timing in timings.items():
        against = "" if timing is mine else ratio(mine.seconds, timing.seconds)
        rows.append((name, f"{timing.median:.3g} s", against, f"{timing.compilation:.1f} s"))
        if against:
            aim = "1.10" if "scan" in name else ""
            text = f"an epoch of LeNet-300-100, {what}, against {name}"
            results.append(
                Result(text, f"{mine.median:.3g} s", f"{timing.median:.3g} s", against, aim)
            )
    print(table(("side", "median", "jaxmask / side", "compilation"), rows))
    return results


def mnist(examples: int | None) -> tuple[np.ndarray, np.ndarray, str]:
    """MNIST's training images and a description; random ones if it is not prepared."""
    if examples is None:
        try:
            train = data.load("mnist", validation=0).train
            return np.asarray(train.images), train.labels, f"MNIST ({len(train.labels):,} images)"
        except InputError:
            examples = 60_000
    images, labels = random_images(examples, (28, 28, 1))
    return images, labels, f"{examples:,} random images of MNIST's shape"


def _keep(side: Side, losses: list[float]) -> None:
    losses.append(side())


if __name__ == "__main__":
    command(run)
