"""On eight devices: the results of one, laid out as the weights."""

import os
import subprocess
import sys
from pathlib import Path

import calls
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AbstractMesh, AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxmask import mask, sharding
from jaxmask.sharding import automatic, like, shares_axes, split_as, whole


def as_it_is(call):
    return call


# Other calls with Explicit axes are only traced, in `test_strict`.
TRIED = {
    (AxisType.Auto, jax.jit): (
        "init constant", "init shuffled", "keep_blocks sum", "keep_n_of_m -2", "rescaled",
        "score fisher pieces", "score learned trees", "multi_shot",
    ),
    (AxisType.Auto, as_it_is): (
        "init constant", "init normal", "keep_top global", "density", "score grasp", "optimizer",
    ),
    (AxisType.Explicit, jax.jit): (
        "keep_blocks sum", "keep_top of stacked layers", "rescaled", "score learned",
        "score snip pieces",
    ),
}  # fmt: skip
COUNT = sum(map(len, TRIED.values()))
ON_THE_HOST = ("density",)  # returns a number of Python

EIGHT = """
import sys
sys.path.insert(0, sys.argv[1])
import test_sharding
test_sharding.eight_devices()
"""


def eight_devices():
    """Prints what differs from one device, by call; then how many were tried."""
    jax.config.update("jax_disable_most_optimizations", True)
    w, batch, table = calls.weights(), calls.batch(), calls.calls()
    for (kind, variant), names in TRIED.items():
        mesh = jax.make_mesh((4, 2), ("data", "model"), axis_types=(kind, kind))

        def placed(x, spec, mesh=mesh):
            return jax.device_put(x, NamedSharding(mesh, spec))

        there = jax.tree.map(placed, w, calls.LAYOUT)
        examples = jax.tree.map(lambda x, placed=placed: placed(x, P("data")), batch)
        for name in names:
            once = as_it_is if name in ON_THE_HOST else jax.jit
            wanted = once(table[name])(w, batch)
            try:
                with jax.set_mesh(mesh):
                    made = variant(table[name])(there, examples)
                jax.tree.map(same, made, wanted)
                calls.check_layout(there, made)
            except Exception as error:  # all of them are told at once
                print(kind, variant.__name__, name, type(error), str(error)[:300])
    from_before(mesh)
    transformed()
    print(COUNT, "calls on", len(jax.devices()), "devices")


def from_before(mesh):
    """Weights that are NumPy's, or were made before the mesh was set, are laid out whole."""
    w = {"a": np.arange(8.0), "b": jnp.arange(8.0)[::-1]}
    wanted = mask.keep_top(w, 0.5)
    with jax.set_mesh(mesh):
        split = {**w, "b": jax.device_put(w["b"], P("data"))}
        for tried in (w, split):
            jax.tree.map(same, mask.keep_top(tried, 0.5), wanted)
        jax.tree.map(same, jax.jit(lambda w: mask.keep_top(w, 0.5))(w), wanted)
        mask.kaiming_uniform()(jax.random.key(0), w)


def transformed():
    """What is made like weights, and its gradient, are laid out as each of them, also batched."""
    mesh = jax.make_mesh((4, 2), ("data", "model"), axis_types=(AxisType.Auto,) * 2)
    specs = {"a": P("data", "model"), "b": P("model", "data"), "c": P(None, "data")}
    w = {name: jax.device_put(jnp.ones((8, 8)), NamedSharding(mesh, specs[name])) for name in specs}
    grown = {name: jnp.stack([leaf] * 3) for name, leaf in w.items()}

    def loss(made, w):
        return sum(jnp.sum(leaf**3) for leaf in jax.tree.leaves(like(w, made)))

    made = jax.device_put({name: jnp.full((8, 8), 2.0) for name in specs}, NamedSharding(mesh, P()))
    order = jax.jit(lambda w: like(w, {name: jnp.arange(64).reshape(8, 8) for name in specs}))
    gradient = jax.jit(jax.grad(loss))(made, w)
    same(gradient["b"], np.full((8, 8), 12.0, np.float32))
    for name, spec in specs.items():
        assert order(w)[name].sharding.spec == spec
        assert gradient[name].sharding.spec == spec
        assert jax.jit(jax.vmap(order))(grown)[name].sharding.spec == P(None, *spec)


def same(a, b):
    a, b = np.asarray(a), np.asarray(b)
    assert a.dtype == b.dtype
    if a.dtype.kind in "biu":
        np.testing.assert_array_equal(a, b)
    else:
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-6)


def test_eight_devices():
    flags = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
    here = Path(__file__).parent
    path = os.pathsep.join([str(here / "helpers"), *filter(None, sys.path)])
    done = subprocess.run(
        [sys.executable, "-c", EIGHT, str(here)],
        env={**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == f"{COUNT} calls on 8 devices\n", done.stdout + done.stderr


def test_without_a_mesh_nothing_changes():
    w, made = {"w": jnp.ones((2, 3))}, {"w": jnp.zeros((2, 3), bool)}
    assert like(w, made)["w"] is made["w"]
    assert whole(w["w"]) is w["w"]
    assert split_as(w["w"], made["w"]) is made["w"]
    assert not shares_axes(w, made)
    found = automatic(lambda x, axis, more: x.sum(axis) + more, None, w["w"], 0, 1)
    np.testing.assert_array_equal(found, [3, 3, 3])
    # numbered equations would be compiled anew in every process
    assert "alike" not in str(jax.make_jaxpr(like)(w, made)) or jax.device_count() > 1


def test_what_is_laid_out_alike_is_unchanged_under_all_transformations():
    def cubed(x, w):
        return jnp.sum(sharding._alike.bind(w, x) ** 3)

    x, w = jnp.arange(1.0, 5.0), jnp.full(4, jnp.nan)  # no value of the weights is read
    np.testing.assert_array_equal(jax.jit(jax.grad(cubed))(x, w), 3 * x**2)
    np.testing.assert_array_equal(jax.jit(jax.hessian(cubed))(x, w), jnp.diag(6 * x))
    flow = jax.jvp(jax.grad(lambda x: cubed(x, w)), (x,), (jnp.ones(4),))[1]
    np.testing.assert_array_equal(flow, 6 * x)
    np.testing.assert_array_equal(jax.grad(cubed, 1)(x, jnp.ones(4)), jnp.zeros(4))
    for axes in ((0, None), (None, 0), (1, 0), (0, 0)):
        shapes = [(4,) if axis is None else ((3, 4), (4, 3))[axis] for axis in axes]
        drawn = [jax.random.normal(jax.random.key(i), shape) for i, shape in enumerate(shapes)]
        both = jax.vmap(lambda x, w: sharding._alike.bind(w, x), axes)(*drawn)
        wanted = jax.vmap(lambda x, w: x, axes)(*drawn)
        np.testing.assert_array_equal(jnp.broadcast_to(wanted, both.shape), both)
    whole_numbers = jax.jit(lambda w: sharding._alike.bind(w, jnp.arange(4)))(w)
    np.testing.assert_array_equal(whole_numbers, [0, 1, 2, 3])


MESH = AbstractMesh((4, 2), ("data", "model"), axis_types=(AxisType.Explicit,) * 2)


@pytest.mark.parametrize(
    ("spec", "length", "expected"),
    [
        (P("data"), 8, P(None, "data", None)),
        (P("data"), 6, P(None, None, None)),  # does not divide evenly over four
        (P(("data", "model"), None), 8, P(None, ("data", "model"), None)),
        (P(("data", "model"), None), 4, P(None, None, None)),
        (P(None, "model"), 6, P(None, None, "model")),
    ],
)
def test_pieces_of_examples_are_split_as_the_examples_if_that_divides_them(spec, length, expected):
    def pieces(x):
        return split_as(x, whole(x)[: 2 * length].reshape(2, length, 4), axis=1)

    with jax.sharding.use_abstract_mesh(MESH):
        x = jax.ShapeDtypeStruct((24, 4), "float32", sharding=NamedSharding(MESH, spec))
        assert jax.eval_shape(pieces, x).sharding.spec == expected


def test_weights_and_examples_that_are_split_over_one_axis():
    def arrays(*specs):
        return [
            jax.ShapeDtypeStruct((8, 8), "float32", sharding=NamedSharding(MESH, spec))
            for spec in specs
        ]

    shared = []
    with jax.sharding.use_abstract_mesh(MESH):
        for examples in (P("data"), P(("model", "data")), P(None, "model"), P()):
            jax.eval_shape(
                lambda w, x: shared.append(shares_axes(w, x)),
                arrays(P(None, "model"), P()),
                arrays(examples),
            )
    assert shared == [False, True, False, False]
