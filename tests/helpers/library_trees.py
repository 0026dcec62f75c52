"""Trees of several libraries, and drawn ones."""

import chex
import equinox as eqx
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from flax.core import freeze
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from jaxmask import tree


class LinenNet(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.LayerNorm(name="norm")(nn.Dense(4, name="body")(x)))
        return nn.Dense(2, name="value")(x)


class NNXNet(nnx.Module):
    def __init__(self, rngs):
        self.body = nnx.Linear(3, 4, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)
        self.blocks = nnx.List([nnx.Linear(4, 4, rngs=rngs)])
        self.value = nnx.Linear(4, 2, rngs=rngs)


class Scale(eqx.Module):
    value: jax.Array


def linen():
    return LinenNet().init(jax.random.key(0), jnp.ones((1, 3)))["params"]


def nnx_state():
    return nnx.state(NNXNet(nnx.Rngs(0)))


def equinox_module():
    mlp = eqx.nn.MLP(3, 2, 4, 1, key=jax.random.key(0))
    return {"mlp": mlp, "scale": Scale(jnp.ones(2)), "dropout": eqx.nn.Dropout(0.5)}


def plain():
    return {
        "list": [jnp.ones(2), (np.zeros((2, 2), np.float32), None)],
        "counter": jnp.zeros((), jnp.int32),
        "key": jax.random.key(1),
        "function": jnp.tanh,
        "bf16": jnp.ones(3, jnp.bfloat16),
        "scalar": jnp.float32(1.0),
        "number": 0.5,
        "empty": {},
    }


TREES = {
    "linen": (linen, [("value/.*", "train"), (".*/kernel", "mask")]),
    "frozen dict": (lambda: freeze(linen()), [("value/.*", "train"), (".*/kernel", "mask")]),
    "nnx": (nnx_state, [("value/.*", "train"), (".*/kernel", "mask")]),
    "nnx module": (lambda: NNXNet(nnx.Rngs(0)), [("value/.*", "train"), (".*", "mask")]),
    "equinox": (equinox_module, [(".*bias|scale.*", "train"), (".*", "mask")]),
    "plain": (plain, [("list/0", "train"), (".*", "mask")]),
}


names = st.text("ab", min_size=1, max_size=3)  # many share a prefix


def nested(leaves):
    return st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
        max_leaves=12,
    )


trees = nested(st.none() | st.floats(-1, 1).map(np.float32) | st.integers(0, 9))


shapes = npst.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3)


array_trees = nested(st.none() | shapes.map(lambda shape: np.zeros(shape, np.float32)))


def drawn_labels(data, original):
    structure = jax.tree.structure(original)
    count = structure.num_leaves
    chosen = data.draw(st.lists(st.sampled_from(tree.LABELS), min_size=count, max_size=count))
    return jax.tree.unflatten(structure, chosen)


def assert_same(a, b):
    """Not only equal: the same objects, in the same containers."""
    chex.assert_trees_all_equal_structs(a, b)
    assert all(x is y for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b)))
