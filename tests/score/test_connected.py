"""Connected weights, against a search over all paths of explicit graphs."""

import functools
import itertools

import chex
import equinox as eqx
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxmask import mask, score, tree
from jaxmask.errors import InputError
from jaxmask.model import cifar_resnet, clip, lenet, mobile, resnet, vgg, vit


class Graph:
    """Edges between numbered units, each of one weight of a leaf or of none."""

    def __init__(self, inputs):
        self.size = inputs
        self.inputs = range(inputs)
        self.edges = {}

    def units(self, *shape):
        made = np.arange(self.size, self.size + np.prod(shape, dtype=int)).reshape(shape)
        self.size += made.size
        return made

    def edge(self, source, target, weight=None):
        self.edges.setdefault(int(source), []).append((int(target), weight))

    def on_paths(self, outputs, masks):
        """The weights of every path from an input to an output, one path after another."""
        ends, found = set(map(int, np.ravel(outputs))), set()

        def walk(unit, used):
            if unit in ends:
                found.update(used)
            for target, weight in self.edges.get(unit, ()):
                if weight is None or masks[weight[0]][weight[1]]:
                    walk(target, used if weight is None else [*used, weight])

        for unit in self.inputs:
            walk(unit, [])
        return found

    def dense(self, units, leaf, outputs):
        made = self.units(outputs)
        for (row, source), column in itertools.product(enumerate(np.ravel(units)), range(outputs)):
            self.edge(source, made[column], (leaf, (row, column)))
        return made

    def window(self, units, size, stride, padding, weights=None):
        """[H, W, C] -> a convolution with weights (leaf, outputs), else a pool of each channel."""
        height, width, channels = units.shape
        sides = [(side + 2 * padding - size) // stride + 1 for side in (height, width)]
        made = self.units(*sides, weights[1] if weights else channels)
        for y, x, i, j in itertools.product(*map(range, (*sides, size, size))):
            a, b = y * stride + i - padding, x * stride + j - padding
            if not (0 <= a < height and 0 <= b < width):
                continue
            for c in range(channels):
                if weights is None:
                    self.edge(units[a, b, c], made[y, x, c])
                    continue
                for d in range(weights[1]):
                    self.edge(units[a, b, c], made[y, x, d], (weights[0], (i, j, c, d)))
        return made

    def add(self, one, two):
        made = self.units(*one.shape)
        for source, target in [*zip(one.flat, made.flat), *zip(two.flat, made.flat)]:
            self.edge(source, target)
        return made


def agree(connections, masks, x, wanted):
    found = connections(masks, x)
    chosen = {
        (leaf, tuple(map(int, place)))
        for leaf, bits in found.items()
        for place in np.argwhere(np.asarray(bits))
    }
    assert chosen == wanted


def drawn(draw, shapes):
    share = draw(st.sampled_from([0.15, 0.3, 0.6, 1.0]))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return {name: random.random(shape) < share for name, shape in shapes.items()}


ACTIVATIONS = {
    "relu": jax.nn.relu, "sigmoid": jax.nn.sigmoid, "gelu": jax.nn.gelu, "elu": jax.nn.elu,
    "leaky": jax.nn.leaky_relu, "hard swish": jax.nn.hard_swish, "softplus": jax.nn.softplus,
    "relu6": jax.nn.relu6, "where": lambda x: jnp.where(x > 0, x, 0), "cos": jnp.cos,
}  # fmt: skip


@functools.cache
def dense(name):
    def forward(w, x):
        for leaf in "ab":
            x = ACTIVATIONS[name](x @ w[leaf] - 0.5)
        return x @ w["c"] + jnp.ones(2)

    return score.connected(forward)


@pytest.mark.parametrize("name", ACTIVATIONS)
@given(st.data())
@settings(max_examples=8, deadline=None)
def test_a_dense_network_with_biases_that_are_not_masked(name, data):
    masks = drawn(data.draw, {"a": (3, 4), "b": (4, 4), "c": (4, 2)})
    graph = Graph(3)
    units = graph.dense(graph.dense(range(3), "a", 4), "b", 4)
    outputs = graph.dense(units, "c", 2)
    agree(dense(name), masks, jnp.zeros((2, 3)), graph.on_paths(outputs, masks))


def convolution(x, kernel, stride, padding):
    return jax.lax.conv_general_dilated(
        x, kernel, (stride, stride), [(padding, padding)] * 2,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )  # fmt: skip


CASES = [(2, 1, "max"), (1, 0, "average"), (3, 1, "max, padded"), (2, 0, None)]


@functools.cache
def convolutions(stride, padding, pool):
    def pooled(x):
        if pool is None:
            return x
        if pool == "average":
            return nn.avg_pool(x, (2, 2), (1, 1))
        return nn.max_pool(x, (2, 2), (1, 1), "VALID" if pool == "max" else [(1, 1), (1, 1)])

    def forward(w, x):
        x = pooled(jax.nn.relu(convolution(x, w["a"], stride, padding)))
        x = jnp.max(jax.nn.relu(convolution(x, w["b"], 1, 1)), axis=(1, 2))
        return x @ w["head"]

    return score.connected(forward)


@pytest.mark.parametrize("case", CASES)
@given(st.data())
@settings(max_examples=8, deadline=None)
def test_convolutions_with_strides_padding_and_pools(case, data):
    stride, padding, pool = case
    masks = drawn(data.draw, {"a": (3, 3, 1, 2), "b": (2, 2, 2, 2), "head": (2, 2)})
    graph = Graph(25)
    units = graph.window(np.arange(25).reshape(5, 5, 1), 3, stride, padding, ("a", 2))
    if pool is not None:
        units = graph.window(units, 2, 1, int(pool == "max, padded"))
    units = graph.window(units, 2, 1, 1, ("b", 2))
    whole = graph.units(2)
    for source in units.reshape(-1, 2):
        graph.edge(source[0], whole[0])
        graph.edge(source[1], whole[1])
    outputs = graph.dense(whole, "head", 2)
    agree(convolutions(*case), masks, jnp.ones((1, 5, 5, 1)), graph.on_paths(outputs, masks))


@functools.cache
def residual():
    scale, mean, shift = np.random.default_rng(0).normal(size=(3, 2)).astype(np.float32)

    def norm(x):
        return (x - mean) * jax.lax.rsqrt(jnp.ones(2) + 1e-5) * scale + shift

    def forward(w, x):
        x = convolution(x, w["stem"], 1, 0)
        y = jax.nn.relu(norm(convolution(x, w["a"], 1, 1)))
        x = jax.nn.relu(x + norm(convolution(y, w["b"], 1, 1)))
        return x.reshape(1, -1) @ w["head"]

    return score.connected(forward)


@given(st.data())
@settings(max_examples=12, deadline=None)
def test_residual_blocks_with_batch_norms(data):
    masks = drawn(data.draw, {"stem": (2, 2, 1, 2), "a": (3, 3, 2, 2), "b": (3, 3, 2, 2),
                              "head": (18, 2)})  # fmt: skip
    graph = Graph(16)
    stem = graph.window(np.arange(16).reshape(4, 4, 1), 2, 1, 0, ("stem", 2))
    inside = graph.window(stem, 3, 1, 1, ("a", 2))
    units = graph.add(stem, graph.window(inside, 3, 1, 1, ("b", 2)))
    outputs = graph.dense(units, "head", 2)
    agree(residual(), masks, jnp.ones((1, 4, 4, 1)), graph.on_paths(outputs, masks))


def test_a_pruned_unit_that_a_bias_keeps_above_zero_carries_nothing():
    masks = {"a": np.array([[1, 0]]), "b": np.array([[1], [1]]), "bias": np.array([1, 1]),
             "last": np.array([1])}  # fmt: skip

    def forward(w, x):
        return jax.nn.sigmoid(x @ w["a"] + w["bias"]) @ w["b"] + w["last"]

    found = score.connected(forward)(masks, jnp.ones((1, 1)))
    wanted = {"a": [[True, False]], "b": [[True], [False]], "bias": [True, False], "last": [True]}
    assert jax.tree.map(lambda leaf: leaf.tolist(), found) == wanted


def test_a_factor_of_zero_closes_a_path_and_a_gate_opens_one():
    ones = {"a": jnp.ones((2, 2), bool), "gate": jnp.array([True, False])}
    scaled = score.connected(lambda w, x: (x @ w["a"]) * jnp.array([1.0, 0.0]) * w["gate"])
    assert scaled(ones, jnp.ones((1, 2)))["a"].tolist() == [[True, False]] * 2
    gated = score.connected(lambda w, x: (x @ w["a"]) * jax.nn.sigmoid(w["gate"]))
    found = gated(ones, jnp.ones((1, 2)))
    assert found["a"].all()  # sigmoid(0) is not zero
    assert found["gate"].tolist() == [True, False]
    shared = score.connected(lambda w, x: (x @ w["a"]) / (1 + jnp.exp(x @ w["a"])))
    assert shared(ones, jnp.ones((1, 2)))["a"].all()


def attention(w, x):
    q, k, v = (x @ w[name] for name in "qkv")
    return jax.nn.softmax(q @ k.T) @ v @ w["out"]


def test_attention_joins_tokens_and_channels_meet_in_a_normalization():
    masks = {name: np.eye(3, dtype=bool) for name in "qkv"} | {"out": np.eye(3, dtype=bool)}
    masks["out"][0, 0] = False
    found = score.connected(attention)(masks, jnp.ones((2, 3)))
    assert found["v"].diagonal().tolist() == [False, True, True]
    assert found["q"].diagonal().all()
    assert found["k"].diagonal().all()

    def normalized(w, x):
        x = x @ w["a"]
        x = (x - x.mean()) / jnp.sqrt(x.var() + 1e-5)
        return x[:, :1] @ w["b"]

    masks = {"a": np.eye(2) > 0, "b": np.ones((1, 1), bool)}
    found = score.connected(normalized)(masks, jnp.ones((1, 2)))
    assert found["a"].tolist() == [[True, False], [False, True]]


def looped(w, x, reverse):
    def step(carry, layer):
        return jax.nn.relu(carry @ layer), carry

    carry, before = jax.lax.scan(jax.checkpoint(step), x, w["layers"], reverse=reverse)
    return carry @ w["head"] + before[1] @ w["side"]


@pytest.mark.parametrize("reverse", [False, True])
def test_layers_in_a_scan_are_those_written_out(reverse):
    random = np.random.default_rng(0)

    def plain(w, x):
        seen = []
        for index in range(3):
            seen.append(x)
            x = jax.nn.relu(x @ w["layers"][2 - index if reverse else index])
        return x @ w["head"] + (seen[::-1] if reverse else seen)[1] @ w["side"]

    for _ in range(5):
        masks = {"layers": random.random((3, 4, 4)) < 0.3, "head": random.random((4, 2)) < 0.5,
                 "side": random.random((4, 2)) < 0.3}  # fmt: skip
        one, two = (score.connected(each)(masks, jnp.ones((1, 4)))
                    for each in (lambda w, x: looped(w, x, reverse), plain))  # fmt: skip
        chex.assert_trees_all_equal(one, two)


MOVES = {
    "concatenate": lambda a, x: jnp.concatenate([a, x], axis=1)[:, ::-1],
    "stack": lambda a, x: jnp.stack([x, a]).swapaxes(0, 1).reshape(1, -1)[:, [3, 2, 1, 0]],
    "pad": lambda a, x: jnp.pad(a, ((0, 0), (2, 0)))[:, ::-1],
    "set": lambda a, x: jnp.zeros((1, 4)).at[:, 1].set(a[:, 0]).at[:, 0].set(a[:, 1]),
    "update": lambda a, x: jax.lax.dynamic_update_slice(jnp.zeros((1, 4)), a[:, ::-1], (0, 0)),
    "split": lambda a, x: jnp.concatenate([*jnp.split(a, 2, axis=1)[::-1], x], axis=1),
    "cumsum": lambda a, x: jnp.cumsum(jnp.concatenate([a, x * 0], axis=1), axis=1)[:, ::-1],
}


@pytest.mark.parametrize("name", MOVES)
def test_entries_that_are_moved_keep_their_paths(name):
    """Against derivatives of a linear network, none of whose paths cancel."""
    random = np.random.default_rng(1)

    def forward(w, x):
        return MOVES[name](x @ w["a"], x) @ w["b"]

    x = jnp.array([[1.0, 2.0]])
    for _ in range(4):
        masks = {"a": random.random((2, 2)) < 0.5, "b": random.random((4, 3)) < 0.4}
        w = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), masks)
        flow = jax.grad(lambda w: forward(w, x).sum())(w)
        found = score.connected(forward)(masks, x)
        chex.assert_trees_all_equal(found, jax.tree.map(lambda m, g: m & (g != 0), masks, flow))


REFUSED = {
    "sort": lambda w, x: jnp.sort(x @ w),
    "while": lambda w, x: jax.lax.while_loop(lambda x: x.sum() < 1, lambda x: 2 * x, x @ w),
    "cond": lambda w, x: jax.lax.cond(x.sum() > 0, lambda: x @ w, lambda: x),
    "gather": lambda w, x: w[x.astype(int).ravel()],
    "reduce_prod": lambda w, x: jnp.prod(x @ w, axis=1),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_understood_is_refused_by_its_name(name):
    with pytest.raises(InputError, match=f"operation {name}.* is not known; give a forward"):
        score.connected(REFUSED[name])(jnp.ones((2, 2)), jnp.ones((1, 2)))


def test_an_input_is_needed_and_must_reach_the_output():
    with pytest.raises(InputError, match=r"connected\(forward\)\(masks, x\)"):
        score.connected(lambda w: jnp.ones(2) @ w)(jnp.ones((2, 2)))
    with pytest.raises(InputError, match="no output of forward depends on its input"):
        score.connected(lambda w, x: jnp.ones(2) @ w)(jnp.ones((2, 2)), jnp.ones(2))


def test_masks_of_any_kind_and_inputs_without_values():
    signs = np.where(np.random.default_rng(0).random((3, 2, 2)) < 0.6, 1, -1)
    connections = score.connected(lambda w, x: (x / 255) @ w[0] @ w[1] @ w[2])
    wanted = connections(tuple(signs > 0), jnp.ones((1, 2)))
    pixels = jax.ShapeDtypeStruct((1, 2), jnp.uint8)
    for dtype in (np.int8, np.float32, jnp.bfloat16):
        chex.assert_trees_all_equal(connections(tuple(signs.astype(dtype)), pixels), wanted)
    with jax.disable_jit():
        chex.assert_trees_all_equal(connections(tuple(signs > 0), pixels), wanted)
    compiled = jax.jit(lambda masks: connections(masks, pixels))(tuple(signs > 0))
    chex.assert_trees_all_equal(compiled, wanted)
    many = jax.vmap(lambda m: connections((m, m, m), pixels)[0])(jnp.asarray(signs))
    for one, each in zip(signs, many):
        chex.assert_trees_all_equal(connections((one, one, one), pixels)[0], each)


class Network(nnx.Module):
    def __init__(self, rngs):
        self.hidden = nnx.Linear(4, 8, rngs=rngs)
        self.norm = nnx.BatchNorm(8, use_running_average=True, rngs=rngs)
        self.head = nnx.Linear(8, 3, rngs=rngs)

    def __call__(self, x):
        return self.head(nnx.relu(self.norm(self.hidden(x))))


def two_layers(params, call, hidden, head, outputs_first):
    """The weights of two layers, against what each hidden unit has on both sides."""
    parts = tree.partition(params, tree.label(params, [(f"{hidden}|{head}", "mask")]))
    random, rest = np.random.default_rng(0), (parts["train"], parts["freeze"])
    masks = jax.tree.map(lambda leaf: jnp.asarray(random.random(leaf.shape) < 0.2), parts["mask"])
    found = score.connected(lambda w, x: call(tree.combine(w, *rest), x))(masks, jnp.ones((1, 4)))
    assert jax.tree.structure(found) == jax.tree.structure(masks)
    (one, two), left = (
        [np.asarray(tree.named_leaves(each)[path]) for path in (hidden, head)]
        for each in (masks, found)
    )
    into, out = (1, 0) if outputs_first else (0, 1)
    alive = one.any(into) & two.any(out)
    wanted = [one & np.expand_dims(alive, into), two & np.expand_dims(alive, out)]
    chex.assert_trees_all_equal(left, wanted)
    assert 0 < sum(map(np.sum, left)) < sum(map(np.sum, (one, two)))


def test_an_nnx_state():
    graph, state = nnx.split(Network(nnx.Rngs(0)))
    call = lambda params, x: nnx.merge(graph, params)(x)  # noqa: E731
    two_layers(state, call, "hidden/kernel", "head/kernel", False)


def test_an_equinox_module():
    network = eqx.nn.MLP(4, 3, 8, 1, key=jax.random.key(0))
    call = lambda params, x: jax.vmap(params)(x)  # noqa: E731
    two_layers(network, call, "layers/0/weight", "layers/1/weight", True)


def network_of(module):
    """(compiled forward, weights) of a Linen module whose biases are zero, and its images."""
    images = jnp.ones((1, 32, 32, 3), module.dtype)
    random = np.random.default_rng(0)
    variables = jax.tree.map(
        lambda leaf: jnp.ones(leaf.shape, leaf.dtype),
        jax.eval_shape(module.init, jax.random.key(0), images),
    )
    labels = tree.label(variables["params"], [(".*/kernel", "mask"), (".*/scale", "train")])
    parts = tree.partition(variables["params"], labels)
    rest = parts["train"], jax.tree.map(jnp.zeros_like, parts["freeze"])
    statistics = variables.get("batch_stats", {})
    neutral = score.absolute({"params": {}, "batch_stats": statistics}, "neutral")
    weights = jax.tree.map(
        lambda leaf: jnp.asarray(random.normal(size=leaf.shape), leaf.dtype), parts["mask"]
    )

    def forward(w, x):
        return module.apply({**neutral, "params": tree.combine(w, *rest)}, x)

    return jax.jit(forward), weights, images


def masks_like(weights, density):
    random = np.random.default_rng(1)
    return jax.tree.map(lambda leaf: jnp.asarray(random.random(leaf.shape) < density), weights)


def test_a_resnet_20_against_its_flow_in_float64(x64):
    module = cifar_resnet.CifarResNet(10, 3, width=0.25, dtype=jnp.float64)
    forward, weights, images = network_of(module)
    connections, flow = score.connected(forward), score.synflow(lambda w: forward(w, images))
    for density in (0.05, 0.02):
        masks = masks_like(weights, density)
        found = connections(masks, images)
        ones = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), masks)
        chex.assert_trees_all_equal(found, jax.tree.map(lambda leaf: leaf > 0, flow(ones)))
        assert 0 < mask.measure.density(found) < mask.measure.density(masks)


def test_depthwise_convolutions_and_relu6_against_their_flow_in_float64(x64):
    stages = (mobile.Stage(1, 16, 3, 1, 1), mobile.Stage(2, 24, 5, 2, 6))
    module = mobile.MobileNetV2(10, 0.125, jnp.float64, stages)
    forward, weights, images = network_of(module)
    connections, flow = score.connected(forward), score.synflow(lambda w: forward(w, images))
    for density in (0.7, 0.4):
        masks = masks_like(weights, density)
        found = connections(masks, images)
        ones = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), masks)
        chex.assert_trees_all_equal(found, jax.tree.map(lambda leaf: leaf > 0, flow(ones)))
        assert 0 < mask.measure.density(found) < mask.measure.density(masks)
    # a channel is connected to one channel: without its kernel nothing leads into it or out of it
    whole = jax.tree.map(lambda leaf: jnp.ones(leaf.shape, bool), weights)
    block = whole["block2_1"]
    block["depthwise_conv"]["kernel"] = block["depthwise_conv"]["kernel"].at[..., 4].set(False)
    found = connections(whole, images)["block2_1"]
    assert not found["expand_conv"]["kernel"][..., 4].any()
    assert not found["project_conv"]["kernel"][..., 4, :].any()
    assert found["expand_conv"]["kernel"][..., :4].all()


def test_a_vgg_11_computes_the_same_without_what_is_not_connected():
    forward, weights, images = network_of(vgg.VGG(10, (1, 1, 2, 2, 2), width=0.125))
    connections = score.connected(forward)
    for density in (0.1, 0.002):
        masks = masks_like(weights, density)
        found = connections(masks, images)
        one, two = (forward(mask.pruned(each, weights), images) for each in (masks, found))
        np.testing.assert_allclose(one, two, rtol=1e-5)
        chex.assert_trees_all_equal(connections(found, images), found)
        assert 0 <= mask.measure.density(found) < mask.measure.density(masks)
        assert bool(jnp.any(one)) <= (mask.measure.density(found) > 0)


NETWORKS = {
    "lenet": lenet.LeNet5(3),
    "resnet": resnet.ResNet(3, resnet.Bottleneck, (1, 1, 1, 1), width=0.125, dtype=jnp.bfloat16),
    "vit": vit.ViT(3, patch=16, blocks=2, heads=2, width=0.125),
    "clip": clip.ImageTower(3, patch=16, blocks=1, heads=2, width=0.125),
    "efficientnet": mobile.EfficientNetLite(3, 1.0, 0.1, width=0.125),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_every_kind_of_network_is_understood(name):
    """Nothing is computed: a network that is not understood is refused as it is traced."""
    images = jax.ShapeDtypeStruct((1, 32, 32, 1 if name == "lenet" else 3), jnp.float32)
    variables = jax.eval_shape(NETWORKS[name].init, jax.random.key(0), images)

    def forward(w, x):
        ones = jax.tree.map(lambda leaf: jnp.ones(leaf.shape, leaf.dtype), dict(variables))
        return NETWORKS[name].apply({**ones, "params": w}, x)

    connections = score.connected(forward)
    found = jax.eval_shape(lambda w: connections(w, images), variables["params"])
    assert jax.tree.structure(found) == jax.tree.structure(variables["params"])
