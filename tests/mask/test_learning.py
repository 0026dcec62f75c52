"""Learning a mask over a frozen network of each library; also how one uses the core."""

import chex
import equinox as eqx
import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
import pytest
from flax import nnx

from jaxmask import mask, tree


class LinenNet(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(2, name="head")(nn.relu(nn.Dense(32, name="body")(x)))


class NNXNet(nnx.Module):
    def __init__(self, rngs):
        self.body = nnx.Linear(4, 32, rngs=rngs)
        self.head = nnx.Linear(32, 2, rngs=rngs)

    def __call__(self, x):
        return self.head(nnx.relu(self.body(x)))


def linen():
    net = LinenNet()
    params = net.init(jax.random.key(0), jnp.ones((1, 4)))["params"]
    return params, lambda params, x: net.apply({"params": params}, x), ".*/kernel", "head/.*"


def nnx_net():
    graph, params = nnx.split(NNXNet(nnx.Rngs(0)))
    return params, lambda params, x: nnx.merge(graph, params)(x), ".*/kernel", "head/.*"


def equinox():
    net = eqx.nn.MLP(4, 2, 32, 1, key=jax.random.key(0))
    return net, lambda net, x: jax.vmap(net)(x), ".*/weight", "layers/1/.*"


THRESHOLD = mask.threshold(init=mask.normal())


@pytest.mark.parametrize(
    ("library", "tx"),
    [
        pytest.param(linen, THRESHOLD, id="linen threshold"),
        pytest.param(linen, mask.top_k(0.6), id="linen top_k"),
        pytest.param(linen, mask.sign(), id="linen sign"),
        pytest.param(nnx_net, THRESHOLD, id="nnx threshold"),
        pytest.param(nnx_net, mask.top_k(0.6, "global"), id="nnx top_k"),
        pytest.param(equinox, THRESHOLD, id="equinox threshold"),
        pytest.param(equinox, mask.sign(), id="equinox sign"),
    ],
)
def test_a_mask_is_learned(library, tx):
    params, apply, masked, trained = library()
    parts = tree.partition(params, tree.label(params, [(trained, "train"), (masked, "mask")]))
    x = jax.random.normal(jax.random.key(1), (64, 4))
    y = jnp.stack([jnp.sin(2 * x[:, 0]), x[:, 1] * x[:, 2]], axis=1)
    scores = tx.init(jax.random.key(2), parts["mask"])
    start = tx.mask(scores)

    def loss_of(learned, frozen):
        scores, head = learned
        net = tree.combine(tx.apply(scores, frozen["mask"]), head, frozen["freeze"])
        return jnp.mean((apply(net, x) - y) ** 2)

    optimizer = optax.adam(0.03)
    frozen = {"mask": parts["mask"], "freeze": parts["freeze"]}
    # functions among an Equinox module's leaves are no arguments of jit: they are closed over
    arrays, static = eqx.partition(frozen, eqx.is_array)

    @jax.jit
    def step(learned, moments, arrays):
        loss, gradient = jax.value_and_grad(loss_of)(learned, eqx.combine(arrays, static))
        updates, moments = optimizer.update(gradient, moments, learned)
        return optax.apply_updates(learned, updates), moments, loss

    learned = (scores, parts["train"])
    moments = optimizer.init(learned)
    losses = []
    for _ in range(60):
        learned, moments, loss = step(learned, moments, arrays)
        losses.append(float(loss))
    assert losses[-1] < 0.6 * losses[0]
    assert mask.measure.hamming(start, tx.mask(learned[0])) > 5
    assert tree.paths(learned[0]) == tree.paths(parts["mask"])
    chex.assert_trees_all_equal_shapes_and_dtypes(learned, (scores, parts["train"]))
    chex.assert_tree_all_finite(learned)
    for before, after in zip(*map(jax.tree.leaves, (parts["train"], learned[1]))):
        assert (before != after).all()


def test_a_mask_travels_by_file_between_containers(tmp_path):
    params, apply, masked, _ = nnx_net()
    parts = tree.partition(params, tree.label(params, [(masked, "mask")]))
    tx = mask.threshold(init=mask.normal())
    masks = tx.mask(tx.init(jax.random.key(0), parts["mask"]))
    mask.file.save(tmp_path / "task.mask", masks)
    loaded = mask.file.load(tmp_path / "task.mask", like=parts["mask"])
    applied = tx.apply(jax.tree.map(lambda m: jnp.where(m, 1.0, -1.0), loaded), parts["mask"])
    chex.assert_shape(apply(tree.combine(applied, parts["freeze"]), jnp.ones((3, 4))), (3, 2))
    on = jax.tree.map(lambda m: m > 0, masks)
    chex.assert_trees_all_equal(loaded, on, strict=True)
