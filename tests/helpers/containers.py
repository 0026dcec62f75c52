"""One small network in the containers of many libraries, and how each of them applies it.

`relu(x @ body + body_bias) @ head + head_bias` from four arrays; a test computes it in NumPy.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from flax.core import freeze, meta

_RANDOM = np.random.default_rng(0)
BODY, BODY_BIAS, HEAD, HEAD_BIAS = (
    _RANDOM.normal(size=shape).astype(np.float32) for shape in ((3, 5), (5,), (5, 2), (2,))
)
X = _RANDOM.normal(size=(6, 3)).astype(np.float32)
SHARED_PATHS = ("body/kernel", "head/kernel")  # of most kinds


class Kind(NamedTuple):
    """A network in the containers of a library.

    Attributes:
      make: () -> weights.
      apply: (weights, x) -> outputs, by the library.
      kernels: the paths of both kernels.
      transposed: whether kernels are [out, in].
    """

    make: Callable[[], Any]
    apply: Callable[[Any, Any], Any]
    kernels: tuple[str, str] = SHARED_PATHS
    transposed: bool = False


def outputs(body, head, x=X):
    """In NumPy."""
    return np.maximum(x @ body + BODY_BIAS, 0) @ head + HEAD_BIAS


def dense(x, kernel, bias):
    return x @ kernel + bias


class Linen(nn.Module):
    box: Any = None

    @nn.compact
    def __call__(self, x):
        init = nn.initializers.lecun_normal()
        init = self.box(init) if self.box else init
        x = nn.relu(nn.Dense(5, kernel_init=init, name="body")(x))
        return nn.Dense(2, kernel_init=init, name="head")(x)


class Note(meta.AxisMetadata, flax.struct.PyTreeNode):
    """A box of a user's own."""

    value: Any
    text: str = flax.struct.field(pytree_node=False, default="kept")

    def unbox(self):
        return self.value

    def replace_boxed(self, val):
        return self.replace(value=val)

    def add_axis(self, index, params):
        return self

    def remove_axis(self, index, params):
        return self


def _linen(box=None, change=lambda params: params):
    net = Linen(box)

    def make():
        params = net.init(jax.random.key(0), X)["params"]
        ordered = map(jnp.asarray, (BODY_BIAS, BODY, HEAD_BIAS, HEAD))  # dicts are sorted
        return change(jax.tree.unflatten(jax.tree.structure(params), ordered))

    return Kind(make, lambda params, x: net.apply({"params": params}, x))


class NNXNet(nnx.Module):
    def __init__(self, rngs):
        self.body = nnx.Linear(3, 5, rngs=rngs)
        self.dropout = nnx.Dropout(0.0, rngs=rngs)
        self.head = nnx.Linear(5, 2, rngs=rngs)

    def __call__(self, x):
        return self.head(nnx.relu(self.dropout(self.body(x))))


def nnx_net():
    net = NNXNet(nnx.Rngs(0))
    for layer, kernel, bias in ((net.body, BODY, BODY_BIAS), (net.head, HEAD, HEAD_BIAS)):
        layer.kernel[...], layer.bias[...] = kernel, bias
    return net


def _merged(params, x):
    graph, _, rest = nnx.split(nnx_net(), nnx.Param, ...)
    return nnx.merge(graph, params, rest)(x)


def equinox_net():
    net = eqx.nn.MLP(3, 2, 5, 1, key=jax.random.key(0))
    return eqx.tree_at(
        lambda net: [leaf for layer in net.layers for leaf in (layer.weight, layer.bias)],
        net,
        [jnp.asarray(leaf) for leaf in (BODY.T, BODY_BIAS, HEAD.T, HEAD_BIAS)],
    )


class Layer(NamedTuple):
    kernel: Any
    bias: Any


@flax.struct.dataclass
class Struct:
    kernel: Any
    bias: Any
    activation: str = flax.struct.field(pytree_node=False, default="relu")


def _layers(make_layer, at, kernels=SHARED_PATHS):
    """Layers with `kernel` and `bias`, one of which has its bias elsewhere, so a hole."""

    def make():
        return at(make_layer(jnp.asarray(BODY), None), make_layer(jnp.asarray(HEAD), HEAD_BIAS))

    def apply(weights, x):
        body, head = jax.tree.leaves(weights, is_leaf=lambda node: isinstance(node, type_of))
        assert body.bias is None
        return dense(jax.nn.relu(dense(x, body.kernel, BODY_BIAS)), head.kernel, head.bias)

    type_of = make_layer
    return Kind(make, apply, kernels)


def haiku():
    return {
        "mlp/~/linear_0": {"w": jnp.asarray(BODY), "b": jnp.asarray(BODY_BIAS)},
        "mlp/~/linear_1": {"w": jnp.asarray(HEAD), "b": jnp.asarray(HEAD_BIAS)},
    }


def _haiku_apply(params, x):
    for name in ("mlp/~/linear_0", "mlp/~/linear_1"):
        x = dense(x if name.endswith("0") else jax.nn.relu(x), params[name]["w"], params[name]["b"])
    return x


def sequence():
    return {"layers": [[jnp.asarray(BODY), jnp.asarray(BODY_BIAS)], (jnp.asarray(HEAD), None)]}


def _sequence_apply(params, x):
    (body, bias), (head, hole) = params["layers"]
    assert hole is None
    return dense(jax.nn.relu(dense(x, body, bias)), head, HEAD_BIAS)


def numbered():
    return {0: {"kernel": jnp.asarray(BODY)}, 1: {"kernel": jnp.asarray(HEAD)}, 2: None}


def _numbered_apply(params, x):
    return dense(jax.nn.relu(dense(x, params[0]["kernel"], BODY_BIAS)), params[1]["kernel"],
                 HEAD_BIAS)  # fmt: skip


KINDS = {
    "dict": _linen(),
    "frozen dict": _linen(change=freeze),
    "partitioned": _linen(lambda init: nn.with_partitioning(init, ("in", "out"))),
    "logically partitioned": _linen(lambda init: nn.with_logical_partitioning(init, ("a", "b"))),
    "a box of one's own": _linen(lambda init: lambda *args: Note(init(*args))),
    "boxes in boxes": _linen(
        lambda init: lambda *args: Note(nn.Partitioned(init(*args), ("in", "out")))
    )._replace(  # Linen opens only the outer one
        apply=lambda params, x: Linen().apply({"params": meta.unbox(meta.unbox(params))}, x)
    ),
    "named tuples": _layers(Layer, lambda body, head: {"body": body, "head": head}),
    "flax.struct": _layers(Struct, lambda body, head: [body, head], ("0/kernel", "1/kernel")),
    "haiku": Kind(haiku, _haiku_apply, ("mlp/~/linear_0/w", "mlp/~/linear_1/w")),
    "lists and tuples": Kind(sequence, _sequence_apply, ("layers/0/0", "layers/1/0")),
    "numbered": Kind(numbered, _numbered_apply, ("0/kernel", "1/kernel")),
    "nnx state": Kind(lambda: nnx.state(nnx_net(), nnx.Param), _merged),
    "nnx module": Kind(nnx_net, lambda net, x: net(x)),
    "equinox": Kind(
        equinox_net,
        lambda net, x: jax.vmap(net)(x),
        ("layers/0/weight", "layers/1/weight"),
        transposed=True,
    ),
    "equinox arrays": Kind(
        lambda: eqx.filter(equinox_net(), eqx.is_inexact_array),
        lambda arrays, x: jax.vmap(
            eqx.combine(arrays, eqx.filter(equinox_net(), eqx.is_inexact_array, inverse=True))
        )(x),
        ("layers/0/weight", "layers/1/weight"),
        transposed=True,
    ),
}


def kernel(kind, array):
    """A kernel, or its mask, as the kind holds it."""
    return array.T if kind.transposed else array
