"""JAX at its strictest: no implicit promotion of dtypes or ranks; layouts that are types.

All of this is decided when a function is traced, so nothing here is compiled.
"""

import functools

import calls
import jax
import jax.numpy as jnp
import optax
import pytest
from jax.sharding import AbstractMesh, AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxmask import adapter, evaluate, mask, score
from jaxmask.loss import cross_entropy
from jaxmask.train import movement, optimizer

CALLS = calls.calls()
MESH = AbstractMesh((4, 2), ("data", "model"), axis_types=(AxisType.Explicit, AxisType.Explicit))
NARROW = {
    "first": {"bias": "float32", "kernel": "bfloat16"},
    "second": {"bias": "float16", "kernel": "float8_e4m3fn"},
    "third": {"bias": "float8_e5m2", "kernel": "float32"},
}


def moved(w, b):
    chain = optax.chain(movement.summed(), optax.sgd(0.1))
    return chain.update(w, chain.init(w), w)


def falls(w, b):
    density = {"now": jnp.ones(()), "target": jnp.full((), 0.1)}
    made = optimizer.falling(5)
    return made.update(density, made.init(density), density)


def adapted(way):
    """What the network computes with, from what is learned, by an adapter."""

    def parameters(w, b):
        learned, frozen = way.init(calls.KEY, w)
        return way.parameters(learned, frozen), learned, frozen

    return parameters


def knn(w, b):
    return evaluate.knn(b[0], b[1], b[0], neighbors=3, classes=8, block=8)


RULES = [(".*/kernel", "mask")]
BESIDES = {
    "cross_entropy": lambda w, b: cross_entropy(b[0], b[1]),
    "cross_entropy smoothed": lambda w, b: cross_entropy(b[0], b[1], 0.1),
    "confusion_matrix": lambda w, b: evaluate.confusion_matrix(b[1], b[1], 8),
    "per_class_accuracy": lambda w, b: evaluate.per_class_accuracy(b[1], b[1], 8),
    "knn": knn,
    "linear_probe": lambda w, b: evaluate.linear_probe(b[0], b[1], 1e-3, classes=8),
    "movement": moved,
    "falling": falls,
    "masks": adapted(adapter.masks(mask.threshold(), RULES)),
    "masks of a share": adapted(adapter.masks(mask.top_k, RULES, density=0.3, share=0.5)),
    "lora": adapted(adapter.lora(RULES)),
    "weights": adapted(adapter.weights()),
}


@pytest.mark.parametrize("name", [*CALLS, *BESIDES])
def test_no_implicit_promotion(name):
    call = {**CALLS, **BESIDES}[name]
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        jax.eval_shape(call, calls.weights(), calls.batch())
        if name in CALLS:
            narrow = jax.tree.map(lambda w, kind: w.astype(kind), calls.weights(), NARROW)
            jax.eval_shape(call, narrow, calls.batch())


def placed(x, spec):
    return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=NamedSharding(MESH, spec))


@pytest.mark.parametrize("name", CALLS)
def test_explicit_axes(name):
    """What is made like a weight has its layout, whatever JAX asks for inside."""
    w = jax.tree.map(placed, calls.weights(), calls.LAYOUT)
    batch = jax.tree.map(lambda x: placed(x, P("data")), calls.batch())
    with jax.sharding.use_abstract_mesh(MESH):
        made = jax.eval_shape(CALLS[name], w, batch)
    calls.check_layout(w, made)


@pytest.mark.parametrize("name", BESIDES)
def test_examples_split_along_explicit_axes(name):
    w = jax.tree.map(lambda leaf: placed(leaf, P()), calls.weights())
    batch = jax.tree.map(lambda x: placed(x, P("data")), calls.batch())
    with jax.sharding.use_abstract_mesh(MESH):
        jax.eval_shape(BESIDES[name], w, batch)


PIECES = {
    "snip": functools.partial(score.snip, batch_size=8),
    "snip, a remainder": functools.partial(score.snip, batch_size=5),
    "grasp": score.grasp,
    "fisher": functools.partial(score.fisher, batch_size=7),
    "optimal_brain_damage": score.optimal_brain_damage,
    "optimal_brain_damage, estimated": functools.partial(score.optimal_brain_damage, samples=2),
}


@pytest.mark.parametrize("spec", [P(), P(None, "model")], ids=str)
@pytest.mark.parametrize("name", PIECES)
def test_a_loss_of_arrays_with_explicit_axes_gets_them(name, spec):
    """It is called with layouts in its types, as by whoever wrote it."""
    seen = []

    def loss(w, x):
        seen.append((jax.typeof(w["a"]).sharding.spec, jax.typeof(x).sharding.spec))
        return jnp.mean(jnp.square(x @ w["a"]))

    w, x = {"a": placed(jnp.ones((8, 16)), spec)}, placed(calls.batch()[0], P("data"))
    with jax.sharding.use_abstract_mesh(MESH):
        made = jax.eval_shape(PIECES[name](loss), w, x)
    assert made["a"].sharding.is_equivalent_to(w["a"].sharding, 2)
    assert {of_weights for of_weights, _ in seen} == {jax.typeof(w["a"]).sharding.spec}
    # 7 and 5 examples cannot be split over four devices, nor can one
    if name in ("snip", "grasp", "optimal_brain_damage"):
        assert {of_examples for _, of_examples in seen} == {P("data", None)}


def test_counts_of_concrete_masks_with_explicit_axes_and_strictly():
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        for name in ("density", "density_by_leaf", "overlap", "hamming", "restore"):
            jax.tree.map(jnp.asarray, CALLS[name](calls.weights(), calls.batch()))
