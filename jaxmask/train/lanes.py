"""Several training runs as one: their trees stacked along a new first axis."""

from collections.abc import Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxmask.train.feed import Feed
from jaxmask.train.state import State, Sums, Tree


def stacked(trees: Sequence[Tree]) -> Tree:
    """The trees along a new first axis; a single one as it is."""
    if len(trees) == 1:
        return trees[0]
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def chunks(
    feeds: Sequence[Feed], orders: Sequence[np.ndarray], lengths: Sequence[int]
) -> Iterable[Tree]:
    """What the compiled scans go over: each feed's own order, stacked."""
    return map(stacked, zip(*(feed.chunks(o, lengths) for feed, o in zip(feeds, orders))))


def means(sums: Sums, count: int) -> list[dict[str, float]]:
    """`loss` and `accuracy` of each of the runs."""
    if count == 1:
        return [sums.means()]
    columns: Any = jax.device_get(sums)
    return [Sums(*(column[index] for column in columns)).means() for index in range(count)]


def read(state: State, count: int) -> tuple[int, list[dict[str, float]]]:
    """The steps done, and each run's means of the running epoch, in one transfer."""
    step, sums = jax.device_get((state.step, state.sums))
    return int(np.ravel(step)[0]), means(sums, count)


def average(each: Sequence[dict[str, float]]) -> dict[str, float]:
    """The mean over runs of each number."""
    return {key: float(np.mean([one[key] for one in each])) for key in each[0]}
