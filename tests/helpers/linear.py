"""The smallest problem to train: a linear classifier of pixels, by SGD; and numpy's idea of it.

Learned is {"train": {"w"}}, frozen {"factor"}: the network computes with `factor * w`. Its batch
statistics count the examples that were trained on. In training, every image gets one number more,
drawn from the step's key.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxmask.loss import cross_entropy
from jaxmask.train import epoch, feed
from jaxmask.train.state import initial
from jaxmask.train.supervised import classifier

CLASSES, SIDE = 3, 2
RATE = 0.5


def problem():
    def network(parameters, batch_stats, images, train):
        x = images.reshape(len(images), -1)
        seen = batch_stats["seen"] + (len(x) if train else 0)
        return x @ parameters["w"], {"seen": seen}

    def augment(key, images):
        x = images.astype(jnp.float32) / 255
        return x if key is None else x + jax.random.uniform(key)

    return classifier(
        parameters=lambda learned, frozen: {"w": frozen["factor"] * learned["train"]["w"]},
        masks=lambda learned, frozen: {"w": learned["train"]["w"] > 0, "hole": None},
        network=network,
        augment=augment,
        loss=cross_entropy,
    )


def split(count, seed=0):
    random = np.random.default_rng(seed)
    images = random.integers(0, 256, (count, SIDE, SIDE, 1)).astype(np.uint8)
    return images, random.integers(0, CLASSES, count).astype(np.int32)


def weights(seed=0):
    w = np.random.default_rng(seed).normal(size=(SIDE * SIDE, CLASSES)).astype(np.float32)
    return {"train": {"w": w}}


def state(seed=0):
    return initial(weights(seed), {"seen": jnp.int32(0)}, optax.sgd(RATE), jax.random.key(seed))


def frozen(factor=2.0):
    return {"factor": jnp.float32(factor)}


def programs(fetch=None):
    """The compiled programs, of data that lies on the device, and the mesh that they are for."""
    mesh = feed.make_mesh()
    fetch = fetch or feed.resident(*split(4), mesh).fetch
    return epoch.programs(problem(), optax.sgd(RATE), fetch, mesh), mesh


def shares(w, factor, images, shift=0.0):
    """Probabilities [N, classes], and what they are computed from [N, pixels]."""
    x = images.reshape(len(images), -1) / 255 + shift
    logits = x @ (factor * w)
    found = np.exp(logits - logits.max(1, keepdims=True))
    return found / found.sum(1, keepdims=True), x


def losses(w, factor, images, labels, shift=0.0):
    """Losses [N], and which answers are right [N]."""
    found, _ = shares(w, factor, images, shift)
    return -np.log(found[np.arange(len(labels)), labels]), found.argmax(1) == labels


def shift(seed, step):
    """The number that the images of a step get."""
    return float(jax.random.uniform(jax.random.fold_in(jax.random.key(seed), step)))


def trained(w, factor, images, labels, order, seed=0, begin=0):
    """(weights, summed losses, right answers) after a step on each row of `order`."""
    total, right = 0.0, 0
    for step, batch in enumerate(order, begin):
        x, y = images[batch], labels[batch]
        moved = shift(seed, step)
        each, correct = losses(w, factor, x, y, moved)
        total, right = total + each.sum(), right + int(correct.sum())
        found, pixels = shares(w, factor, x, moved)
        found[np.arange(len(y)), y] -= 1
        w = w - RATE * factor * pixels.T @ found / len(y)
    return w, total, right
