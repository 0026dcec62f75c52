"""The loss of words: a mean over those that count, in training as in evaluation."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxmask.loss import cross_entropy
from jaxmask.train import epoch, feed
from jaxmask.train.state import COUNTED, Batch, Carried, Sums
from jaxmask.train.supervised import classifier

TABLE = np.random.default_rng(0).normal(size=(6, 5)).astype(np.float32)


def problem():
    """Logits [B, 3, 5] of rows of a table; words and which count, from the images."""
    return classifier(
        parameters=lambda learned, frozen: learned["w"],
        masks=lambda learned, frozen: {},
        network=lambda w, stats, images, train: (w[images[..., 0]], stats),
        augment=lambda key, images: images,
        loss=cross_entropy,
        targets=lambda inputs, labels: (inputs[..., 1], inputs[..., 2] > 0),
    )


def expected(images):
    logits = TABLE[images[..., 0]].astype(np.float64)
    losses = np.log(np.exp(logits).sum(-1))
    losses -= np.take_along_axis(logits, images[..., 1, None].astype(int), -1)[..., 0]
    counted = images[..., 2] > 0
    return losses[counted], (logits.argmax(-1) == images[..., 1])[counted]


def made(count, seed=1):
    rng = np.random.default_rng(seed)
    shape = (count, 3)
    parts = (rng.integers(0, 6, shape), rng.integers(0, 5, shape), rng.random(shape) < 0.6)
    return np.stack([np.asarray(part, np.uint8) for part in parts], -1)


def test_an_objective_of_words():
    images = made(8)
    losses, right = expected(images)
    batch = Batch(jnp.asarray(images), jnp.zeros(8, jnp.int32), jax.random.key(0), jnp.int32(0))
    mean, (_, totals) = problem().objective({"w": TABLE}, {}, Carried({}, None), batch)
    np.testing.assert_allclose(mean, losses.mean(), rtol=1e-5)
    np.testing.assert_allclose(totals["loss"], losses.sum(), rtol=1e-5)
    assert (totals["accuracy"], totals[COUNTED]) == (right.sum(), len(losses))
    nothing = images * np.array([1, 1, 0], np.uint8)
    batch = batch._replace(images=jnp.asarray(nothing))
    assert problem().objective({"w": TABLE}, {}, Carried({}, None), batch)[0] == 0


def test_an_evaluation_counts_words_and_leaves_out_what_fills_up():
    images = made(7)
    programs = epoch.programs(problem(), optax.sgd(0.1), lambda _, batch: batch, feed.make_mesh())
    order, valid = feed.complete_order(7, 4)
    xs = (jnp.asarray(images[order]), jnp.zeros(order.shape, jnp.int32))
    sums = programs.evaluate({"w": TABLE}, {}, {}, (), (xs, valid))
    losses, right = expected(images)
    assert isinstance(sums, Sums)
    assert sums.means()["loss"] == np.float32(sums.totals["loss"]) / len(losses)
    np.testing.assert_allclose(sums.means()["loss"], losses.mean(), rtol=1e-5)
    np.testing.assert_allclose(sums.means()["accuracy"], right.mean(), rtol=1e-6)
