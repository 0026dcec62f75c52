"""Views of unlabeled images for the losses of them: features, and a problem to learn."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxmask.loss import dino, simclr, swav

FEATURES = 6
KEY = jax.random.key
# 16 examples a step beside a queue of 24: it is full after two steps, and 16 does not divide it
LOSSES = {
    "swav": swav(prototypes=5, dimension=4, queue=24, queue_from=0.2, frozen_until=0.1),
    "simclr": simclr(dimension=4),
    "dino": dino(prototypes=5, dimension=4, hidden=7, warm_until=0.3),
}


def features(seed, views=3, batch=8, size=FEATURES, dtype="float64"):
    """The same examples in all views, each with noise of its own, [V, B, F]."""
    rng = np.random.default_rng(seed)
    examples = rng.normal(size=(1, batch, size))
    return np.asarray(examples + 0.5 * rng.normal(size=(views, batch, size)), dtype)


def parameters(way, seed=0, size=FEATURES, dtype="float64"):
    """Those of a loss, biases too away from zero."""
    leaves, structure = jax.tree.flatten(jax.jit(way.init, static_argnums=1)(KEY(seed), size))
    rng = np.random.default_rng(seed)
    leaves = [np.asarray(leaf) + 0.1 * rng.normal(size=leaf.shape) for leaf in leaves]
    made = jax.tree.unflatten(structure, leaves)
    return jax.jit(way.after)(jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), made))


def learned(name, steps=20, batch=16):
    """All that is there after `steps` steps in float64, the examples split over all devices."""
    way, optimizer = LOSSES[name], optax.sgd(0.1, momentum=0.9)
    mesh = jax.make_mesh((jax.device_count(),), ("data",), axis_types=(AxisType.Auto,))
    split = NamedSharding(mesh, P(None, None, "data"))
    images = jax.device_put(np.stack([features(seed, 4, batch) for seed in range(steps)]), split)
    network = np.random.default_rng(1).normal(size=(FEATURES, FEATURES)) / 2

    def loss(weights, memory, teacher, images, progress):
        network, head = weights
        theirs = teacher and (teacher[1], list(images[:2] @ teacher[0]))
        value, memory, metrics = way.loss(head, memory, list(images @ network), theirs, progress)
        return value, (memory, metrics)

    def step(state, given):
        weights, memory, slots, teacher = state
        images, progress = given
        gradient = jax.value_and_grad(loss, has_aux=True)
        (value, (memory, metrics)), slope = gradient(weights, memory, teacher, images, progress)
        updates, slots = optimizer.update(slope, slots)
        network, head = optax.apply_updates(weights, updates)
        weights = network, way.after(head)
        if teacher:
            m = way.momentum(progress)
            teacher = jax.tree.map(lambda old, new: m * old + (1 - m) * new, teacher, weights)
        return (weights, memory, slots, teacher), (value, metrics)

    @jax.jit
    def run(weights, images):
        state = weights, way.memory(weights[1], batch), optimizer.init(weights)
        teacher = weights if way.momentum else None
        return jax.lax.scan(step, (*state, teacher), (images, jnp.arange(steps) / steps))

    state, values = run((network, parameters(way)), images)
    return jax.tree.map(np.asarray, {"state": state, "values": values})


def slopes(name):
    """The loss and its gradient, of examples that are split by their type (Explicit axes)."""
    way, x = LOSSES[name], features(0, 3, 16)
    head = parameters(way)
    memory = way.memory(head, 16)
    if "filled" in memory:
        memory = {"queue": jnp.asarray(features(1, 2, 24, 4)), "filled": jnp.asarray(24)}

    def loss(head, x):
        teacher = (head, x[:2]) if way.momentum else None
        value, after, metrics = way.loss(head, memory, x, teacher, 0.5)
        return value, (after, metrics)

    mesh = jax.make_mesh((jax.device_count(),), ("data",), axis_types=(AxisType.Explicit,))
    with jax.set_mesh(mesh):
        x = [jax.device_put(view, P("data")) for view in x]
        made = jax.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))(head, x)
    return jax.tree.map(np.asarray, made)
