"""A step of each loss that a grid of self_mask compares, side by side.

    python -m benchmarks.self_mask_losses

The configs set epochs by these ratios, so that the losses are compared at equal time. Operations
are those of the program as traced, before the compiler changes it.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from benchmarks.measure import Result, command, interleaved, ratio, table
from benchmarks.training import random_images
from jaxmask import adapter, data
from jaxmask.cli import config as configs
from jaxmask.cli.sweep import expand
from jaxmask.run import learning, starting
from jaxmask.run import task as tasks

Shape = tuple[int, int, int]
GRIDS = (("self_mask", "resnet20_losses", (32, 32, 3)), ("digits_self", "losses", (8, 8, 1)))


def run(
    rounds: int = 7, steps: int = 2, grids: Sequence[tuple[str, str, Shape]] = GRIDS
) -> list[Result]:
    """The grids, a table each; the first loss of each is what the others are compared with."""
    results = []
    for name, mode, shape in grids:
        grid = expand(configs.load(configs.CONFIGS / f"{name}.py", mode))
        losses = {(each.loss, each.adversarial_step): each for each in grid.values()}
        made = {_called(*key): _side(each, shape, steps) for key, each in losses.items()}
        timings = interleaved({name: side for name, (side, _) in made.items()}, rounds)
        first, *others = timings
        rows = []
        for key, each in losses.items():
            timing = timings[_called(*key)]
            against = ratio(timing.seconds, timings[first].seconds)
            milliseconds = f"{1e3 * timing.median / steps:,.3g} ms"
            operations = f"{made[_called(*key)][1] / made[first][1]:.2f}"
            epochs = str(each.mask.train.epochs)
            rows.append((_called(*key), milliseconds, against, operations, epochs))
        head = (f"{name}:{mode}", "a step", "of the first", "operations of the first's", "epochs")
        print(table(head, rows))
        taken = {each[0]: each for each in rows}
        results += [
            Result(f"a step of {name}, {each}, against {first}", taken[each][1], taken[first][1],
                   taken[each][2])
            for each in others
        ]  # fmt: skip
    return results


def _called(loss: str, adversarial_step: float) -> str:
    return f"{loss}, adversarial views" if adversarial_step else loss


def _side(config: ConfigDict, shape: Shape, steps: int) -> tuple[Callable[[], None], float]:
    """A scan of what the recipe trains, on random images, from the middle of a training.

    Returns:
      What runs it, and the floating-point operations of a step.
    """
    batch = config.mask.train.batch_size
    images = data.Split(*random_images(4 * batch, shape))
    dataset = data.Dataset("random", images, images, images, tuple("0123456789"))
    moments = ((0.5,) * shape[2], (0.25,) * shape[2])
    task = tasks.make_task(config.data, config.network, dataset, moments)
    config = ConfigDict(config)
    config.mask.train.scan_steps = steps
    at = learning.learning("mask", adapter.METHODS["mask"], task, config)
    ready, _ = learning.from_start(at, starting.Start(None, "random"))
    made, job = learning.training(at, ready, 0.01, Path())
    state = job.state._replace(step=jnp.full_like(job.state.step, job.steps // 2))
    order = np.arange(steps * batch, dtype=np.int32) % job.train.examples
    xs = next(job.train.chunks(order.reshape(steps, -1), [steps]))

    x = jax.tree.map(lambda leaf: leaf[0], xs)
    traced = made.step.lower(state, job.frozen, job.train.resident, x)

    def side() -> None:
        nonlocal state
        state = made.train(state, job.frozen, job.train.resident, xs)
        assert np.isfinite(state.sums.totals["loss"])  # waits for the scan

    return side, traced.cost_analysis()["flops"]


if __name__ == "__main__":
    command(run)
