"""Scores and pruning of networks of other libraries: an NNX state, an Equinox module."""

import chex
import equinox as eqx
import jax
import jax.numpy as jnp
from flax import nnx

from jaxmask import mask, prune, score, tree


class Network(nnx.Module):
    def __init__(self, rngs):
        self.hidden = nnx.Linear(4, 8, rngs=rngs)
        self.head = nnx.Linear(8, 3, rngs=rngs)

    def __call__(self, x):
        return self.head(nnx.relu(self.hidden(x)))


def check(params, pattern, call):
    """SNIP in one shot and SynFlow in many, of the leaves that a pattern matches."""
    parts = tree.partition(params, tree.label(params, [(pattern, "mask")]))
    x, y = jax.random.normal(jax.random.key(1), (16, 4)), jnp.arange(16) % 3

    def forward(w, x):
        return call(tree.combine(w, parts["train"], parts["freeze"]), x)

    def loss(w, x, y):
        return -jax.nn.log_softmax(forward(w, x))[jnp.arange(len(y)), y].mean()

    w = parts["mask"]
    size = tree.size(w)
    one = prune.one_shot(score.snip(loss), 0.25)(w, x, y)
    many = prune.multi_shot(score.synflow(lambda w: forward(w, jnp.ones((1, 4)))), 0.25, 5)(w)
    for masks in (one, many):
        chex.assert_trees_all_equal_shapes(masks, w)
        chex.assert_type(jax.tree.leaves(masks), bool)
        assert sum(int(leaf.sum()) for leaf in jax.tree.leaves(masks)) == size - int(0.75 * size)
    left = tree.combine(mask.pruned(one, w), parts["train"], parts["freeze"])
    chex.assert_tree_all_finite(call(left, x))


def test_an_nnx_state():
    graph, state = nnx.split(Network(nnx.Rngs(0)))
    check(state, ".*/kernel", lambda params, x: nnx.merge(graph, params)(x))


def test_an_equinox_module():
    network = eqx.nn.MLP(4, 3, 8, 1, key=jax.random.key(0))
    check(network, ".*/weight", lambda params, x: jax.vmap(params)(x))
