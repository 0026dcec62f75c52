"""Loss and accuracy over a whole split."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from jaxmask.train.feed import Feed, ahead, complete_order, cut
from jaxmask.train.stack import chunks, stacked
from jaxmask.train.state import Sums, Tree

BATCHES = 16  # per scan


def evaluate(
    program: Callable[..., Sums],
    learned: Tree,
    batch_stats: Tree,
    frozen: Tree,
    feeds: Sequence[Feed],
    resident: Tree,
    batch_size: int,
    wait: Callable[[float], None] = lambda seconds: None,
) -> Sums:
    """Loss and accuracy over a whole split, each example once.

    At most `BATCHES` batches are scanned at a time, while the next are fetched: a streamed split
    is never on the device as a whole, and signals can be handled in between.

    Args:
      program: `Programs.evaluate`, or `evaluate_together` for trees and splits of several runs.
      feeds: the split of each run; `resident`: their resident arrays, stacked.
      wait: called with the seconds that the device waited for each piece of data.
    """
    order, valid = complete_order(feeds[0].examples, batch_size)
    if not len(order):
        return Sums.zero()
    lengths = cut(len(order), min(BATCHES, feeds[0].longest(batch_size)))
    counted = np.split(valid, np.cumsum(lengths)[:-1])
    total: Any = None
    pieces = ahead(chunks(feeds, [order] * len(feeds), lengths), wait)
    for xs, mask in zip(pieces, counted):
        masks = stacked([mask] * len(feeds))
        sums = program(learned, batch_stats, frozen, resident, (xs, masks))
        total = sums if total is None else total.plus(*sums)
        jax.block_until_ready(total)  # otherwise chunks pile up in the device's queue
    return total
