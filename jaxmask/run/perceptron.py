"""A small multi-layer perceptron, trained on rows: one compiled scan over the steps of an epoch."""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxmask import signals
from jaxmask.run.programs import shared
from jaxmask.run.regressors import Regressor
from jaxmask.run.seeds import named_key
from jaxmask.train import optimizer

PEAK = "learning_rate"


class Settings(NamedTuple):
    """The arguments of `learners.mlp`."""

    hidden: tuple[int, ...]
    optimizer: str
    rate: float
    epochs: int
    batch_size: int


class Perceptron(nn.Module):
    """Features [N, F] -> [N], in (0, 1)."""

    hidden: tuple[int, ...]

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        for i, size in enumerate(self.hidden):
            x = nn.relu(nn.Dense(size, name=f"layer_{i}")(x))
        return nn.sigmoid(nn.Dense(1, name=f"layer_{len(self.hidden)}")(x)[:, 0])


class _Programs(NamedTuple):
    network: Perceptron
    optimizer: optax.GradientTransformation
    epoch: Callable[..., Any]  # (params, state, x, y, key) -> (params, state, mean squared error)
    error: Callable[..., jax.Array]  # (params, x, y) -> mean squared error


def make_optimizer(text: str) -> optax.GradientTransformation:
    """With its rate in its state, so that another one compiles nothing."""
    return optimizer.optimizer(text, optax.constant_schedule(1.0))


def fit(
    settings: Settings, train: Any, validation: Any, seed: int
) -> tuple[Regressor, tuple[tuple[float, float], ...]]:
    """Trains for all epochs; the last one is kept.

    Args:
      train, validation: pairs (x, y).

    Returns:
      (the regressor, the mean squared errors of training rows and validation rows by epoch: those
      of training rows as they were met).
    """
    size = min(settings.batch_size, len(train[1]))
    kind = (settings.hidden, settings.optimizer, size)
    programs = shared("perceptron", kind, lambda: _programs(*kind))
    x, y = (jnp.asarray(each, jnp.float32) for each in train)
    held_out = tuple(jnp.asarray(each, jnp.float32) for each in validation)
    params = programs.network.init(named_key(seed, "perceptron"), x[:1])["params"]
    state = programs.optimizer.init(params)
    state = optimizer.set_peaks({"weights": state}, {PEAK: settings.rate})["weights"]
    curve = []
    for number in range(settings.epochs):
        signals.obey()
        key = named_key(seed, f"perceptron/epoch {number}")
        params, state, error = programs.epoch(params, state, x, y, key)
        curve.append((float(error), float(programs.error(params, *held_out))))
    arrays: dict[str, np.ndarray] = {}
    for i in range(len(settings.hidden) + 1):
        layer = jax.device_get(params[f"layer_{i}"])
        arrays |= {
            f"kernel_{i}": np.asarray(layer["kernel"]),
            f"bias_{i}": np.asarray(layer["bias"]),
        }
    return Regressor("mlp", arrays), tuple(curve)


def _programs(hidden: tuple[int, ...], text: str, size: int) -> _Programs:
    network, chain = Perceptron(hidden), make_optimizer(text)

    def error(params: Any, x: jax.Array, y: jax.Array) -> jax.Array:
        predicted: Any = network.apply({"params": params}, x)
        return jnp.mean(jnp.square(predicted - y))

    def epoch(params: Any, state: Any, x: jax.Array, y: jax.Array, key: jax.Array) -> Any:
        steps = len(y) // size  # the rest of the rows is another one in every epoch
        order = jax.random.permutation(key, len(y))[: steps * size].reshape(steps, size)

        def step(carry: Any, rows: jax.Array) -> Any:
            params, state = carry
            loss, gradient = jax.value_and_grad(error)(params, x[rows], y[rows])
            updates, state = chain.update(gradient, state, params)
            return (optax.apply_updates(params, updates), state), loss

        (params, state), losses = jax.lax.scan(step, (params, state), order)
        return params, state, losses.mean()

    return _Programs(network, chain, jax.jit(epoch), jax.jit(error))
