"""SynFlow: paths, conservation laws, deep networks, and what biases and statistics do to it."""

import functools
import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import agree

from jaxmask import model, score
from jaxmask.errors import InputError

WIDTHS = (3, 4, 2, 5)


def relu_chain(w):
    """Layers of kernels, and biases where there are any, for an input of ones."""
    h = jnp.ones(WIDTHS[0])
    for index, layer in enumerate(w):
        h = h @ layer["kernel"] + layer.get("bias", 0)
        h = h if index == len(w) - 1 else jax.nn.relu(h)
    return h


def convolutions(w):
    """Two convolutions, the second one strided, and a head, for an image of ones."""
    h = jnp.ones((1, 6, 6, 2))
    for layer, stride in zip(w[:-1], (1, 2)):
        numbers = ("NHWC", "HWIO", "NHWC")
        h = jax.nn.relu(
            jax.lax.conv_general_dilated(
                h, layer["kernel"], (stride, stride), "SAME", dimension_numbers=numbers
            )
        )
    return h.mean(axis=(1, 2)) @ w[-1]["kernel"]


def draw(seed, shapes, biases=False):
    """Random layers; a fifth of the weights is pruned."""
    rng = np.random.default_rng(seed)

    def leaf(shape):
        return jnp.asarray(rng.normal(size=shape) * (rng.random(shape) > 0.2))

    return [
        {"kernel": leaf(shape)} | ({"bias": leaf(shape[-1:])} if biases else {}) for shape in shapes
    ]


DENSE = list(itertools.pairwise(WIDTHS))
CONVOLUTIONS = [(3, 3, 2, 4), (3, 3, 4, 3), (3, 5)]
CHAIN, CONVOLVED = score.synflow(relu_chain), score.synflow(convolutions)
flow = jax.jit(lambda w: jnp.sum(relu_chain(jax.tree.map(jnp.abs, w))))
convolved_flow = jax.jit(lambda w: jnp.sum(convolutions(jax.tree.map(jnp.abs, w))))


def total(leaf, axes=None):
    return np.asarray(leaf).sum(axis=axes)


def test_a_score_is_the_sum_over_the_paths_through_the_weight(x64):
    w = draw(0, DENSE)
    scores = [np.zeros(shape) for shape in DENSE]
    for path in itertools.product(*map(range, WIDTHS)):
        edges = list(itertools.pairwise(path))
        product = np.prod([abs(layer["kernel"][edge]) for layer, edge in zip(w, edges)])
        for layer, edge in zip(scores, edges):
            layer[edge] += product
    agree(CHAIN(w), [{"kernel": layer} for layer in scores])


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20)
def test_every_layer_and_every_hidden_unit_conserves_the_flow(seed):
    with jax.enable_x64(True):
        w, kernels = draw(seed, DENSE), draw(seed, CONVOLUTIONS)
        dense, convolved = CHAIN(w), CONVOLVED(kernels)
        close = functools.partial(np.testing.assert_allclose, rtol=1e-10, atol=1e-12)
        for scores, whole in ((dense, flow(w)), (convolved, convolved_flow(kernels))):
            for layer in scores:
                close(total(layer["kernel"]), whole)
            for before, after in itertools.pairwise(scores):
                into, out_of = before["kernel"], after["kernel"]
                outputs = (*range(out_of.ndim - 2), out_of.ndim - 1)
                close(total(into, tuple(range(into.ndim - 1))), total(out_of, outputs))


@pytest.mark.parametrize("activation", [jax.nn.relu6, lambda x: jnp.clip(x, 0, 0.1)])
def test_the_bound_of_an_activation_does_not_stop_the_flow(activation, x64):
    def forward(w):
        h = jnp.ones(WIDTHS[0])
        for layer in w:
            h = activation(h @ layer["kernel"])
        return h

    w = [{"kernel": 100 * layer["kernel"]} for layer in draw(3, DENSE)]
    scores = score.synflow(forward)(w)
    agree(scores, CHAIN(w))
    assert (flow(w) > 6) & (flow(w) == pytest.approx(total(scores[0]["kernel"])))


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20)
def test_biases_feed_flow_in(seed):
    """A layer has the flow less what its own bias and those after it feed in."""
    with jax.enable_x64(True):
        w = draw(seed, DENSE, biases=True)
        scores = CHAIN(w)
        fed = 0.0
        for layer in scores[::-1]:
            fed += total(layer["bias"])
            np.testing.assert_allclose(total(layer["kernel"]) + fed, flow(w), rtol=1e-10)
        for before, after in itertools.pairwise(scores):
            into = total(before["kernel"], 0) + before["bias"]
            np.testing.assert_allclose(into, total(after["kernel"], 1), rtol=1e-10, atol=1e-12)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=10)
def test_neither_signs_nor_the_scale_of_layers_nor_data_matter(seed):
    with jax.enable_x64(True):
        w = draw(seed, DENSE)
        scores = CHAIN(w)
        rng = np.random.default_rng(seed)
        signs = jax.tree.map(lambda leaf: leaf * rng.choice([-1.0, 1.0], leaf.shape), w)
        agree(CHAIN(signs), scores)
        # more in one layer, less in the next: the same network; one weight in all: all the more
        one, *middle, last = w
        shifted = [scaled(one, 8.0), *middle, scaled(last, 1 / 8)]
        agree(CHAIN(shifted), scores)
        agree(CHAIN([scaled(one, 3.0), *middle, last]), scaled(scores, 3.0))
        agree(CHAIN(w, jnp.ones(7), "a batch"), scores)


def scaled(tree, factor):
    return jax.tree.map(lambda leaf: factor * leaf, tree)


def fresh(name, shape, dtype, **options):
    """A network as `model.initialize` makes it, without compiling the initializer."""
    network = model.create(name, classes=5, dtype=dtype, **options)
    shapes = jax.eval_shape(lambda: model.initialize(network, jax.random.key(0), shape))
    rng = np.random.default_rng(0)

    def leaf(path, like):
        if path[-1].key == "kernel":
            values = rng.normal(size=like.shape) * (2 / np.prod(like.shape[:-1])) ** 0.5
        else:
            values = np.full(like.shape, path[-1].key in ("scale", "var"))
        return jnp.asarray(values, dtype)

    return network, jax.tree_util.tree_map_with_path(leaf, shapes)


def through(network, variables, shape):
    """What SynFlow differentiates: weights -> outputs, everything else absolute."""
    closed = score.absolute(variables)
    ones = jnp.ones((1, *shape), closed["params"]["head"]["kernel"].dtype)
    return lambda params: network.apply({**closed, "params": params}, ones)


QUICKLY = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}


@pytest.mark.parametrize(
    ("name", "width", "inside"), [("resnet44", 0.5, "layer2_3"), ("resnet50", 0.25, "layer3_2")]
)
def test_deep_networks_in_float64(name, width, inside, x64):
    shape = (8, 8, 3)
    network, variables = fresh(name, shape, "float64", width=width)
    forward, params = through(network, variables, shape), variables["params"]

    def flow(w):
        return jnp.sum(forward(jax.tree.map(jnp.abs, w)))

    quick = functools.partial(jax.jit, compiler_options=QUICKLY)
    scores, measure = quick(score.synflow(forward))(params), quick(flow)
    block = {**params[inside], "conv1": {"kernel": 0 * params[inside]["conv1"]["kernel"]}}
    whole, lost = measure(params), measure(params) - measure({**params, inside: block})
    assert whole > 1e38  # more than float32 can hold
    chex.assert_trees_all_equal_shapes_and_dtypes(scores, params)
    chex.assert_tree_all_finite(scores)
    # all paths go through the first and the last layer; biases are 0
    for layer in ("conv1", "head"):
        np.testing.assert_allclose(total(scores[layer]["kernel"]), whole, rtol=1e-10)
    # and through a layer inside those that are cut if it goes
    assert 0.01 * whole < lost < whole
    np.testing.assert_allclose(total(scores[inside]["conv1"]["kernel"]), lost, rtol=1e-9)


def test_an_overflow_names_the_leaf_and_the_remedy():
    network, variables = fresh("resnet20", (8, 8, 3), "float32", width=0.25)
    scorer = score.synflow(through(network, variables, (8, 8, 3)))
    with (
        jax.disable_jit(),
        pytest.raises(InputError, match=r"'.*' is not finite in float32; .* in float64"),
    ):
        scorer(scaled(variables["params"], 100.0))


def test_under_jit_an_overflow_is_left_to_the_caller():
    scorer = score.synflow(lambda w: w["a"] * w["b"])
    w = {"a": jnp.float32(1e30), "b": jnp.float32(1e30)}
    assert jnp.isinf(jax.jit(scorer)(w)["a"])
    with pytest.raises(InputError, match="'a' is not finite"):
        scorer(w)


VARIABLES = {
    "params": {"bn": {"scale": jnp.array([-2.0, 3.0]), "bias": jnp.array([-1.0, 0.5])}},
    "batch_stats": {"bn": {"mean": jnp.array([4.0, -5.0]), "var": jnp.array([0.25, 9.0])}},
    "constants": {"steps": jnp.array([-7])},
}


@pytest.mark.parametrize(
    ("statistics", "mean", "var"),
    [
        ("keep", [4, -5], [0.25, 9]),
        ("absolute", [4, 5], [0.25, 9]),
        ("neutral", [0, 0], [1, 1]),
    ],
)
def test_parameters_become_absolute_and_statistics_are_a_choice(statistics, mean, var):
    found = score.absolute(VARIABLES, statistics)
    expected = {
        "params": {"bn": {"scale": jnp.array([2.0, 3.0]), "bias": jnp.array([1.0, 0.5])}},
        "batch_stats": {"bn": {"mean": jnp.float32(mean), "var": jnp.float32(var)}},
        "constants": VARIABLES["constants"],
    }
    chex.assert_trees_all_equal(found, expected, strict=True)
    assert found["constants"] is VARIABLES["constants"]
    assert VARIABLES["params"]["bn"]["scale"].tolist() == [-2, 3]


def test_statistics_of_other_kinds():
    assert score.absolute(VARIABLES)["batch_stats"] == VARIABLES["batch_stats"]
    assert "batch_stats" not in score.absolute({"params": {"w": jnp.ones(1)}})
    counters = {"params": {"w": -jnp.ones(1), "n": jnp.array(-3)}, "batch_stats": {}}
    assert score.absolute(counters)["params"]["n"] == -3
    power = {"params": {}, "batch_stats": {"norm": {"power": jnp.ones(2)}}}
    assert score.absolute(power)["batch_stats"] == power["batch_stats"]
    with pytest.raises(InputError, match="'norm/power' is neither a mean nor a var"):
        score.absolute(power, "neutral")
    with pytest.raises(InputError, match=r"statistics 'neutrel'.*neutral"):
        score.absolute(VARIABLES, "neutrel")
