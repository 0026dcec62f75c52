"""A small training problem: a network with batch norm on images labeled by a rule."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxmask import adapter, mask
from jaxmask.loss import cross_entropy
from jaxmask.run import defaults
from jaxmask.train import epoch, feed, loop, optimizer
from jaxmask.train.state import initial
from jaxmask.train.supervised import classifier


class Split(NamedTuple):
    images: np.ndarray
    labels: np.ndarray


class Network(nn.Module):
    width: int = 8

    @nn.compact
    def __call__(self, x, train=False):
        x = nn.Conv(self.width, (3, 3))(x)
        x = nn.BatchNorm(use_running_average=not train, momentum=0.9)(x)
        x = nn.relu(x).reshape(len(x), -1)
        return nn.Dense(3, name="head")(x)


def images(count, seed=0):
    random = np.random.default_rng(seed)
    labels = random.integers(0, 3, count)
    pixels = random.integers(0, 120, (count, 6, 6, 1))
    pixels[np.arange(count), :, labels * 2] += 60
    return Split(pixels.astype(np.uint8), labels.astype(np.int32))


def stream(split, order, lengths):
    for piece in np.split(order, np.cumsum(lengths)[:-1]):
        yield split.images[piece], split.labels[piece]


def settings(**changes):
    given = {
        "epochs": 3, "batch_size": 16, "evaluation_batch": 16, "patience": 0,
        "select": "accuracy", "checkpoint_seconds": 1e9, "scan_steps": 4, "seed": 0,
    }  # fmt: skip
    return loop.Settings(**{**given, **changes})


def fit(folder, *, how="resident", rate=0.5, train=150, steps_of_schedule=27, width=8,
        dtype="float32", devices=1, **changes):  # fmt: skip
    """Learns a mask (and the head) as a recipe does; returns loop.Fit.

    Large leaves are split among `devices`.
    """
    programs, job = jobs(
        how=how, train=train, steps_of_schedule=steps_of_schedule, width=width, devices=devices
    )
    return loop.fit(programs, job(0, folder, rate=rate, dtype=dtype, **changes))


def jobs(*, how="resident", train=150, steps_of_schedule=27, width=8, devices=1):
    """Programs, and a function (seed, folder, ...) -> a job for them."""
    made = _made(how, train, steps_of_schedule, width, devices)
    feeds = _feeds(how, train, made.mesh)

    def job(seed, folder, rate=0.5, dtype="float32", **changes):
        variables = made.initialize(jax.random.key(seed), jnp.zeros((1, 6, 6, 1)))
        variables = jax.tree.map(lambda leaf: leaf.astype(dtype), variables)
        learned, frozen = made.way.init(jax.random.key(1), variables["params"])
        key = jax.random.key(2 + seed)
        state = initial(learned, variables["batch_stats"], made.optimizer, key)
        peaks = {"learning_rate": rate, "mask_learning_rate": 20 * rate}
        state = state._replace(optimizer=optimizer.set_peaks(state.optimizer, peaks))
        state, frozen = feed.replicate((state, frozen), made.mesh)
        return loop.Job(state, frozen, *feeds, settings(seed=seed, **changes), folder)

    return made.programs, job


def _feeds(how, train, mesh):
    splits = images(train), images(50, seed=1)
    if how == "resident":
        return [feed.resident(*split, mesh) for split in splits]
    return [feed.streamed(split, stream, mesh) for split in splits]


class _Made(NamedTuple):
    mesh: jax.sharding.Mesh
    initialize: Callable
    way: adapter.Adapter
    optimizer: optax.GradientTransformation
    programs: epoch.Programs


@functools.cache  # compiled once
def _made(how, train, steps_of_schedule, width, devices):
    network, mesh = Network(width), feed.make_mesh(devices)

    def apply(parameters, batch_stats, x, training):
        both = {"params": parameters, "batch_stats": batch_stats}
        if not training:
            return network.apply(both, x), batch_stats
        logits, changed = network.apply(both, x, train=True, mutable=["batch_stats"])
        return logits, changed["batch_stats"]

    def augment(key, x):
        x = x.astype(jnp.float32) / 255
        return x if key is None else x + 0.01 * jax.random.normal(key, x.shape)

    rules = [("head/.*", "train"), (".*/kernel", "mask")]
    way = adapter.masks(mask.threshold(), rules)
    problem = classifier(
        parameters=way.parameters,
        masks=lambda learned, frozen: way.store(learned, frozen).masks,
        network=apply,
        augment=augment,
        loss=cross_entropy,
    )
    config = defaults.train(epochs=1)
    section = optimizer.Section(config, steps_of_schedule, 9)
    together = optimizer.grouped(way.optimizers(section))
    programs = epoch.programs(problem, together, _feeds(how, train, mesh)[0].fetch, mesh)
    return _Made(mesh, jax.jit(network.init), way, together, programs)
