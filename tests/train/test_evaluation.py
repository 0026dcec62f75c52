"""Loss and accuracy of a whole split, against numpy."""

import jax.numpy as jnp
import linear
import numpy as np
import pytest

from jaxmask.train import evaluation, feed
from jaxmask.train.stack import stacked

pytestmark = pytest.mark.usefixtures("quick_compilation")

STATS = {"seen": jnp.int32(0)}


@pytest.fixture(scope="module")
def made():
    return linear.programs()


def parts(split, mesh, how):
    """The split as a feed: on the device, or as a stream of one batch at a time."""
    if how == "resident":
        return feed.resident(*split, mesh)

    def stream(_, order, lengths):
        for piece in np.split(order, np.cumsum(lengths)[:-1]):
            yield split[0][piece], split[1][piece]

    class Split:
        images, labels = split

    return feed.streamed(Split, stream, mesh, chunk_bytes=16)


@pytest.mark.parametrize("how", ["resident", "streamed"])
@pytest.mark.parametrize(("examples", "batch"), [(13, 4), (12, 4), (3, 8), (20, 1)])
def test_every_example_counts_once_however_the_split_is_cut(made, how, examples, batch):
    programs, mesh = made
    images, labels = linear.split(examples, seed=1)
    split = parts((images, labels), mesh, how)
    if how == "streamed":
        programs, _ = linear.programs(split.fetch)
    learned, waits = linear.weights(), []
    sums = evaluation.evaluate(
        programs.evaluate, learned, STATS, linear.frozen(), [split], split.resident, batch,
        waits.append,
    )  # fmt: skip
    each, right = linear.losses(learned["train"]["w"], 2.0, images, labels)
    np.testing.assert_allclose(sums.totals["loss"], each.sum(), rtol=1e-4)
    assert (int(sums.totals["accuracy"]), int(sums.examples)) == (right.sum(), examples)
    batches = -(-examples // batch)
    at_once = {"resident": examples, "streamed": max(16 // (4 * batch), 1)}[how]  # of 16 bytes
    assert len(waits) == len(feed.cut(batches, min(16, at_once))) + 1  # and once for the end


def test_at_most_so_many_batches_are_scanned_at_a_time(made):
    programs, mesh = made
    split = feed.resident(*linear.split(80), mesh)
    lengths = []

    def counting(*arguments):
        lengths.append(len(arguments[-1][1]))
        return programs.evaluate(*arguments)

    evaluation.evaluate(
        counting, linear.weights(), STATS, linear.frozen(), [split], split.resident, 2
    )
    assert sum(lengths) == 40
    assert max(lengths) <= 2 * evaluation.BATCHES
    assert len(lengths) > 1


def test_several_runs_are_evaluated_on_their_own_splits(made):
    programs, mesh = made
    splits = [linear.split(7, seed) for seed in (1, 2)]
    feeds = [feed.resident(*split, mesh) for split in splits]
    weights = [linear.weights(seed) for seed in (3, 4)]
    sums = evaluation.evaluate(
        programs.evaluate_together, stacked(weights), stacked([STATS, STATS]),
        stacked([linear.frozen(1.0), linear.frozen(3.0)]), feeds,
        stacked([feed.resident for feed in feeds]), 4,
    )  # fmt: skip
    for index, (split, of, factor) in enumerate(zip(splits, weights, (1.0, 3.0))):
        each, right = linear.losses(of["train"]["w"], factor, *split)
        np.testing.assert_allclose(sums.totals["loss"][index], each.sum(), rtol=1e-4)
        assert int(sums.totals["accuracy"][index]) == right.sum()


def test_an_empty_split_has_sums_of_zero(made):
    _, mesh = made
    empty = feed.resident(*(part[:0] for part in linear.split(1)), mesh)
    sums = evaluation.evaluate(None, {}, {}, {}, [empty], empty.resident, 4)
    assert (sums.means(), int(sums.examples)) == ({"loss": 0.0, "accuracy": 0.0}, 0)
