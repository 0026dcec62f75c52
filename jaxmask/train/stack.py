"""Trees and data of several runs, stacked along a new first axis."""

from collections.abc import Iterable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jaxmask.train.feed import Feed
from jaxmask.train.state import Tree


def stacked(trees: Sequence[Tree]) -> Tree:
    """The trees stacked along a new first axis; a single one unchanged, () for none."""
    if not trees:
        return ()
    if len(trees) == 1:
        return trees[0]
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def chunks(
    feeds: Sequence[Feed], orders: Sequence[np.ndarray], lengths: Sequence[int]
) -> Iterable[Tree]:
    """The data of the compiled scans: each feed's chunks in its own order, stacked."""
    return map(stacked, zip(*(feed.chunks(o, lengths) for feed, o in zip(feeds, orders))))


def average(each: Sequence[dict[str, float]]) -> dict[str, float]:
    """The mean of each number over runs."""
    return {key: float(np.mean([one[key] for one in each])) for key in each[0]}
