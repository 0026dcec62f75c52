"""JAX at its strictest: no implicit promotion of dtypes or ranks; layouts that are types.

All of this is decided when a function is traced, so nothing here is compiled.
"""

import calls
import jax
import jax.numpy as jnp
import optax
import pytest
from jax.sharding import AbstractMesh, AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxmask import evaluate
from jaxmask.loss import cross_entropy
from jaxmask.train import movement

CALLS = calls.calls()
NARROW = {
    "first": {"bias": "float32", "kernel": "bfloat16"},
    "second": {"bias": "float16", "kernel": "float8_e4m3fn"},
    "third": {"bias": "float8_e5m2", "kernel": "float32"},
}


def moved(w, b):
    chain = optax.chain(movement.summed(), optax.sgd(0.1))
    return chain.update(w, chain.init(w), w)


def knn(w, b):
    return evaluate.knn(b[0], b[1], b[0], neighbors=3, classes=8, block=8)


BESIDES = {
    "cross_entropy": lambda w, b: cross_entropy(b[0], b[1]),
    "cross_entropy smoothed": lambda w, b: cross_entropy(b[0], b[1], 0.1),
    "confusion_matrix": lambda w, b: evaluate.confusion_matrix(b[1], b[1], 8),
    "per_class_accuracy": lambda w, b: evaluate.per_class_accuracy(b[1], b[1], 8),
    "knn": knn,
    "linear_probe": lambda w, b: evaluate.linear_probe(b[0], b[1], 1e-3, classes=8),
    "movement": moved,
}


@pytest.mark.parametrize("name", [*CALLS, *BESIDES])
def test_no_implicit_promotion(name):
    call = {**CALLS, **BESIDES}[name]
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        jax.eval_shape(call, calls.weights(), calls.batch())
        if name in CALLS:
            narrow = jax.tree.map(lambda w, kind: w.astype(kind), calls.weights(), NARROW)
            jax.eval_shape(call, narrow, calls.batch())


@pytest.mark.parametrize("name", CALLS)
def test_explicit_axes(name):
    """What is made like a weight has its layout, whatever JAX asks for inside."""
    axes = (AxisType.Explicit, AxisType.Explicit)
    mesh = AbstractMesh((4, 2), ("data", "model"), axis_types=axes)

    def placed(x, spec):
        return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=NamedSharding(mesh, spec))

    w = jax.tree.map(placed, calls.weights(), calls.LAYOUT)
    batch = jax.tree.map(lambda x: placed(x, P("data")), calls.batch())
    with jax.sharding.use_abstract_mesh(mesh):
        made = jax.eval_shape(CALLS[name], w, batch)
    calls.check_layout(w, made)


def test_counts_of_concrete_masks_with_explicit_axes_and_strictly():
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        for name in ("density", "density_by_leaf", "overlap", "hamming", "restore"):
            jax.tree.map(jnp.asarray, CALLS[name](calls.weights(), calls.batch()))
