"""Runs per hour of the grid of configs/mnist_lenet.py: 16 trained together, against one at a time.

Random images of MNIST's sizes; a mask, by magnitude, of a different density for every run. Both
sides train with validation, records and checkpoints, as the command does, but for fewer epochs and
without early stopping: runs per hour are extrapolated to 20 epochs from the time per epoch.
"""

import tempfile
from collections.abc import Callable
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path

import jax
import jax.numpy as jnp

from benchmarks.measure import Result, command, interleaved, ratio, table
from benchmarks.training import random_images
from configs import mnist_lenet
from jaxmask import data, mask, tree
from jaxmask.run import scoring, starting, ticket
from jaxmask.run.task import make_task
from jaxmask.run.trainer import Training
from jaxmask.train import loop

EPOCHS = 20
MNIST = (55_000, 5_000)  # images of the training and of the validation split


def run(rounds: int = 5) -> list[Result]:
    """Both sides; nothing on a CPU."""
    if jax.default_backend() == "cpu":
        print("this benchmark needs an accelerator, but JAX finds none")
        return []
    return measure(16, 5, MNIST, rounds)


def measure(runs: int, epochs: int, images: tuple[int, int], rounds: int) -> list[Result]:
    """Both sides interleaved, one table."""
    make = maker(epochs, images)

    def alone(trainings: list[Training]) -> None:
        for programs, job in trainings:
            loop.fit(programs, job)

    def together(trainings: list[Training]) -> None:
        loop.fit_together(trainings[0].programs, [job for _, job in trainings])

    def side(train: Callable[[list[Training]], None], folder: Path) -> Callable[[], None]:
        # Made before timing, and once for every call: training uses up their states.
        fresh = [
            [make(seed, folder / f"{call}/{seed}") for seed in range(runs)]
            for call in range(rounds + 1)
        ]
        return lambda: train(fresh.pop())

    with tempfile.TemporaryDirectory() as folder, redirect_stderr(StringIO()):
        sides = {
            "together": side(together, Path(folder) / "together"),
            "one at a time": side(alone, Path(folder) / "alone"),
        }
        timings = interleaved(sides, rounds)
    hourly, rows = {}, []
    for name, timing in timings.items():
        epoch = timing.median / (runs * epochs)
        hourly[name] = f"{3600 / (EPOCHS * epoch):,.0f} runs/h"
        rows.append((name, f"{epoch:.3g} s", hourly[name], f"{timing.compilation:.1f} s"))
    print(table((f"{runs} runs", "per epoch and run", f"of {EPOCHS} epochs", "compilation"), rows))
    together_, alone_ = (timing.seconds for timing in timings.values())
    text = (
        f"{runs} runs of LeNet-300-100 together, of {EPOCHS} epochs, extrapolated from {epochs}, "
        f"against one at a time (ratio of the times)"
    )
    return [Result(text, *hourly.values(), ratio(together_, alone_))]


def maker(epochs: int, images: tuple[int, int]) -> Callable[[int, Path], Training]:
    """A function that makes the run of a seed, in a folder."""
    config = mnist_lenet.get_config()
    config.train.epochs, config.train.patience = epochs, 0
    train, held_out = (data.Split(*random_images(count, (28, 28, 1))) for count in images)
    dataset = data.Dataset("random", train, held_out, held_out, tuple("0123456789"))
    task = make_task(config.data, config.network, dataset, (config.data.mean, config.data.std))
    labels = scoring.pruned_labels(task, config)

    def make(seed: int, folder: Path) -> Training:
        variables = starting.random_weights(task, seed)
        weights = tree.partition(variables["params"], labels)["mask"]
        density = mnist_lenet.DENSITIES[seed % len(mnist_lenet.DENSITIES)]
        masks = mask.keep_top(jax.tree.map(jnp.abs, weights), density)
        ready = ticket.ready(variables, labels, masks)
        own = config.copy_and_resolve_references()
        own.seed = seed
        return ticket.make_trainer(task, own).job(ready, {}, "ticket", folder, f"run {seed}")

    return make


if __name__ == "__main__":
    command(run)
