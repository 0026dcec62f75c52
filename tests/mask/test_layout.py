"""What is guessed of networks of Linen, NNX, Equinox and PyTorch, and their own initial weights."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax import nnx

from jaxmask import mask, tree

KEY = jax.random.key(0)


class Block(nn.Module):
    """Every kind of leaf that Linen's layers have."""

    @nn.compact
    def __call__(self, x, _=None):
        x = nn.LayerNorm()(nn.Dense(12)(x))
        x = x + nn.MultiHeadDotProductAttention(3)(x)
        x = nn.Conv(12, (5,), use_bias=False)(x)
        return nn.DenseGeneral(12)(x), None


BLOCK = {
    "Conv_0/kernel": "window in out",
    "Dense_0/bias": "out",
    "Dense_0/kernel": "in out",
    "DenseGeneral_0/bias": "out",
    "DenseGeneral_0/kernel": "in out",
    "LayerNorm_0/bias": "out",
    "LayerNorm_0/scale": "out",
    **{
        f"MultiHeadDotProductAttention_0/{name}/{leaf}": words
        for name in ("query", "key", "value")
        for leaf, words in (("kernel", "in out out"), ("bias", "out out"))
    },
    "MultiHeadDotProductAttention_0/out/kernel": "in in out",
    "MultiHeadDotProductAttention_0/out/bias": "out",
}


def linen(module, *shape):
    return jax.eval_shape(module.init, KEY, jnp.ones(shape))["params"]


def test_one_block_of_linen():
    assert mask.describe(linen(Block(), 2, 7, 8)) == BLOCK


@pytest.mark.parametrize("lift", ["scan", "vmap"])
def test_stacked_blocks_of_linen(lift):
    axes = {"variable_axes": {"params": 0}, "split_rngs": {"params": True}}
    lifted = nn.scan(Block, length=6, **axes) if lift == "scan" else nn.vmap(Block, **axes)
    shape = (2, 7, 12) if lift == "scan" else (6, 7, 12)
    params = linen(lifted(name="blocks"), *shape)
    found = mask.describe(params)
    for path, words in BLOCK.items():
        expected = f"layers {words}"
        if path in ("Conv_0/kernel", "LayerNorm_0/bias", "LayerNorm_0/scale"):
            assert expected in found[path].split(" or "), path  # nothing beside it tells
        else:
            assert found[path] == expected, path


def test_kernels_alone_say_less_than_with_their_biases():
    kernel, bias = jnp.ones((6, 16, 8)), jnp.ones((6, 8))
    assert mask.describe({"mlp": {"kernel": kernel, "bias": bias}})["mlp/kernel"] == "layers in out"
    alone = mask.describe({"mlp": {"kernel": kernel}})["mlp/kernel"].split(" or ")
    assert alone == ["window in out", "in out out", "in in out", "layers in out", "in layers out"]
    whole = mask.describe({"mlp": {"kernel": kernel, "bias": bias}})
    assert mask.describe({"mlp": {"kernel": kernel}}, whole) == {"mlp/kernel": "layers in out"}


@pytest.mark.parametrize(
    ("module", "shape", "words"),
    [
        (nn.Conv(4, (3, 3)), (1, 8, 8, 2), "window window in out"),
        (nn.Conv(4, (3, 1)), (1, 8, 8, 2), "window window in out"),
        (nn.Conv(4, (2, 3, 2)), (1, 8, 8, 8, 2), "window window window in out"),
        (nn.Conv(4, (3, 3), feature_group_count=2), (1, 8, 8, 2), "window window in out"),
        (nn.Conv(6, (3, 3), feature_group_count=6), (1, 8, 8, 6), "window window in out"),
        (nn.Conv(8, (5, 5), feature_group_count=4), (1, 8, 8, 4), "window window in out"),
        (nn.DenseGeneral((3, 5)), (2, 7), "in out out"),
        (
            nn.DenseGeneral(5, axis=(-2, -1)),
            (2, 3, 7),
            "window in out",
        ),  # the same for all that asks
        (nn.Dense(5), (2, 7), "in out"),
    ],
)
def test_layers_of_linen_with_a_bias(module, shape, words):
    assert mask.describe(linen(module, *shape))["kernel"] == words


@pytest.mark.parametrize(
    ("path", "shape", "words"),
    [
        ("ConvTranspose_0/kernel", (3, 3, 2, 4), "window window in out or window window out in"),
        ("Embed_0/embedding", (9, 4), "in out or out in"),
        ("attention/query/kernel", (16, 4, 4), "in out out or layers in out or in layers out"),
        ("Dense_3/kernel", (2, 5, 16, 4), "layers layers in out"),
        ("stem/kernel", (7, 7, 3, 8), "window window in out"),
        ("patches/kernel", (16, 16, 3, 8), "window window in out"),
        ("attn/q_einsum/w", (16, 4), "in out or out in"),
        ("h.0.attn.c_attn.weight", (4, 12), "out in or in out"),
        ("embedder/input_embedding", (16, 4), "in out or out in"),
        # of names that no library gives: as documented
        ("a", (2, 3, 4), "window in out"),
        ("linear/w", (3, 4), "in out"),
        ("linear.weight", (3, 4), "out in"),
        ("features.0.weight", (8, 4, 3, 3), "out in window window"),
        ("conv1.weight", (8, 4, 3), "out in window"),
        ("attn.in_proj_weight", (12, 4), "out in"),
        ("rnn.weight_ih_l0", (12, 4), "out in"),
        ("bert.word_embeddings.weight", (9, 4), "in out or out in"),
        ("deconv.weight", (4, 8, 3, 3), "out in window window or in out window window"),
        ("scale", (), ""),
        ("bias", (3,), "out"),
    ],
)
def test_names(path, shape, words):
    assert mask.describe({path: jnp.ones(shape)}) == {path: words}


def test_heads_by_what_is_beside_them():
    def words(query, out):
        kernels = {"query": {"kernel": jnp.ones(query)}, "out": {"kernel": jnp.ones(out)}}
        return list(mask.describe(kernels).values())

    assert words((16, 4, 5), (4, 5, 16)) == ["in in out", "in out out"]
    assert words((2, 16, 4, 5), (2, 4, 5, 16)) == ["layers in in out", "layers in out out"]
    assert words((2, 16, 20), (2, 20, 16)) == ["layers in out", "layers in out"]
    assert words((16, 20), (20, 16)) == ["in out", "in out"]


@pytest.mark.parametrize(
    "path",
    [
        "attn/q_einsum/w",
        "mlp/up/kernel",
        "ScanBlock_0/conv/kernel",
        "Einsum_0/kernel",
        "net/weight",
    ],
)
def test_several_readings(path):
    shape = (3, 8, 4, 2) if "conv" in path else (3, 8, 4)
    assert " or " in mask.describe({path: jnp.ones(shape)})[path]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: nnx.Linear(3, 4, rngs=nnx.Rngs(0)), "in out"),
        (lambda: nnx.LinearGeneral((3, 5), (4,), axis=(-2, -1), rngs=nnx.Rngs(0)), "in in out"),
        (lambda: nnx.LinearGeneral(3, (4, 2), rngs=nnx.Rngs(0)), "in out out"),
        (lambda: nnx.Conv(3, 4, (3, 2), rngs=nnx.Rngs(0)), "window window in out"),
        (lambda: nnx.ConvTranspose(3, 4, (3, 2), rngs=nnx.Rngs(0)), "window window in out"),
        (
            lambda: nnx.ConvTranspose(3, 4, (3, 2), transpose_kernel=True, rngs=nnx.Rngs(0)),
            "window window out in",
        ),
    ],
)
def test_layers_of_nnx(make, words):
    made = make()
    assert mask.describe(made)["kernel"] == words
    if "out in" not in words and "in in" not in words:
        assert mask.describe(nnx.state(made, nnx.Param))["kernel"] == words


def test_stacked_layers_of_nnx():
    @nnx.vmap(in_axes=0, out_axes=0)
    def stacked(key):
        return nnx.MultiHeadAttention(num_heads=2, in_features=6, rngs=nnx.Rngs(key))

    made = stacked(jax.random.split(KEY, 5))
    for whole in (made, nnx.state(made, nnx.Param)):
        found = mask.describe(whole)
        assert found["query/kernel"] == "layers in out out"
        assert found["out/kernel"] == "layers in in out"
        assert found["key/bias"] == "layers out out"
        assert found["out/bias"] == "layers out"


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: eqx.nn.Linear(3, 4, key=KEY), "out in"),
        (lambda: eqx.nn.Conv1d(3, 4, 5, key=KEY), "out in window"),
        (lambda: eqx.nn.Conv2d(3, 4, (3, 2), key=KEY), "out in window window"),
        (lambda: eqx.nn.ConvTranspose2d(3, 4, (3, 2), key=KEY), "out in window window"),
        (lambda: eqx.nn.Embedding(9, 4, key=KEY), "in out or out in"),
    ],
)
def test_layers_of_equinox_alone_and_stacked(make, words):
    weights = eqx.filter(make(), eqx.is_inexact_array)
    assert mask.describe(weights)["weight"] == words
    stacked = jax.tree.map(lambda leaf: jnp.stack([leaf] * 5), weights)
    readings = [f"layers {each}" for each in words.split(" or ")]
    assert mask.describe(stacked)["weight"].split(" or ") == readings
    scores = jax.tree.map(jnp.abs, stacked)  # of the same type
    assert mask.describe(scores) == mask.describe(stacked)


LIBRARIES = {
    "linen": lambda: {
        "Conv_0": nn.Conv(64, (3, 3)).init(KEY, jnp.ones((1, 8, 8, 16)))["params"],
        "Dense_0": nn.Dense(64).init(KEY, jnp.ones((1, 96)))["params"],
        "attention": nn.MultiHeadDotProductAttention(4).init(KEY, jnp.ones((1, 7, 64)))["params"],
    },
    "nnx": lambda: nnx.state(
        nnx.MultiHeadAttention(num_heads=8, in_features=64, rngs=nnx.Rngs(0)), nnx.Param
    ),
    "equinox": lambda: eqx.filter(
        [
            eqx.nn.Linear(96, 64, key=KEY),
            eqx.nn.Conv2d(16, 64, 3, key=KEY),
            eqx.nn.ConvTranspose2d(16, 64, 3, key=KEY),
            eqx.nn.GRUCell(64, 64, key=KEY),
        ],
        eqx.is_inexact_array,
    ),
}


@pytest.mark.parametrize("library", LIBRARIES)
def test_fan_in_is_that_of_the_librarys_own_initial_weights(library):
    """Their variance is 1 / fan_in (Flax) or a third of it (Equinox); so is that of scores."""
    weights = tree.named_leaves(LIBRARIES[library]())
    kernels = {p: w for p, w in weights.items() if "kernel" in p or "weight" in p}
    scores = tree.named_leaves(mask.kaiming_uniform()(KEY, LIBRARIES[library]()))
    for path, weight in kernels.items():
        bound = np.abs(scores[path]).max()
        own = np.std(weight) * (np.sqrt(3) if library == "equinox" else 1)
        np.testing.assert_allclose(bound, own, rtol=0.05, err_msg=path)


def test_kernels_of_one_stack_tell_its_axis_by_what_they_share():
    assert set(mask.describe({"Dense_0": {"kernel": jnp.ones((6, 4, 4))}}).values()) == {
        "layers in out"
    }
    assert set(mask.describe({"Dense_0": {"kernel": jnp.ones((4, 6, 4))}}).values()) == {
        "in layers out"
    }
    dense = {f"Dense_{i}": {"kernel": jnp.ones(s)} for i, s in enumerate([(6, 4, 8), (6, 8, 4)])}
    assert set(mask.describe({"b": dense}).values()) == {"layers in out"}
    dense = {f"Dense_{i}": {"kernel": jnp.ones(s)} for i, s in enumerate([(4, 6, 8), (8, 6, 4)])}
    assert set(mask.describe({"b": dense}).values()) == {"in layers out"}
    two = {"a": {"Dense_0": {"kernel": jnp.ones((6, 4, 8))}},
           "b": {"Dense_0": {"kernel": jnp.ones((5, 4, 9))}}}  # fmt: skip
    assert set(mask.describe(two).values()) == {"layers in out or in layers out"}


def test_stacks_along_the_second_axis():
    class Block(nn.Module):
        @nn.compact
        def __call__(self, x, _=None):
            x = nn.Dense(12, name="up")(x)
            return nn.MultiHeadDotProductAttention(3, name="attention")(x), None

    axes = {"variable_axes": {"params": 1}, "split_rngs": {"params": True}}
    found = mask.describe(linen(nn.scan(Block, length=6, **axes)(name="blocks"), 2, 7, 12))
    assert found["up/kernel"] == "in layers out"
    assert found["up/bias"] == "out layers"
    assert found["attention/query/kernel"] == "in layers out out"
    assert found["attention/out/kernel"] == "in layers in out"
    made = eqx.filter_vmap(lambda key: eqx.nn.Linear(4, 8, key=key), out_axes=eqx.if_array(1))
    stacked = mask.describe(made(jax.random.split(KEY, 5)))
    assert stacked == {"weight": "out layers in", "bias": "out layers"}


@pytest.mark.parametrize(
    ("kernel", "bias", "words"),
    [
        ((3, 3, 32, 8), (32,), "window window out in"),  # a transposed convolution of Linen's
        ((3, 8, 4), (3, 4), "layers in out"),
        ((8, 3, 4), (4, 3), "in layers out"),
        ((8, 3, 4), (3, 4), "in out out"),
    ],
)
def test_a_bias_has_the_last_word(kernel, bias, words):
    params = {"u": {"kernel": jnp.ones(kernel), "bias": jnp.ones(bias)}}
    assert mask.describe(params)["u/kernel"] == words


def test_a_bias_of_pytorch():
    params = {"main.0.weight": jnp.ones((8, 32, 4, 4)), "main.0.bias": jnp.ones(32)}
    assert mask.describe(params)["main.0.weight"] == "in out window window"


@pytest.mark.parametrize(
    ("path", "shape", "words"),
    [
        ("vision_model.embeddings.patch_embedding.weight", (16, 3, 4, 4), "out in window window"),
        ("conv1.weight_orig", (64, 3, 7, 7), "out in window window"),
        ("conv1.weight_v", (64, 3, 7), "out in window"),
        ("conv2.parametrizations.weight.original1", (64, 3, 3, 3), "out in window window"),
        ("lin2.parametrizations.weight.original", (64, 32), "out in"),
        ("layer1.0.downsample.0.weight", (64, 32, 1), "out in window"),
        ("transformer.wte.weight", (64, 32), "in out or out in"),
        ("layers_0/kernel", (1, 7, 3, 8), "window window in out"),
        ("blocks_0/kernel", (7, 8, 8), "window in out"),
        ("cell/ii/kernel", (5, 4, 4), "layers in out"),
    ],
)
def test_more_names(path, shape, words):
    assert mask.describe({path: jnp.ones(shape)}) == {path: words}


@pytest.mark.parametrize(
    ("path", "shape"),
    [
        ("layers/Conv_0/kernel", (3, 3, 3, 8, 8)),
        ("experts/kernel", (4, 8, 8)),
        ("main.0.weight", (100, 512, 4, 4)),
        ("lora/lora_a", (5, 4, 2)),
        ("pos_embed", (1, 9, 4)),
    ],
)
def test_more_that_nothing_tells(path, shape):
    assert " or " in mask.describe({path: jnp.ones(shape)})[path]


def test_an_einsum_of_nnx_says_what_it_sums_over():
    made = nnx.Einsum("btd,dnh->btnh", (8, 4, 3), rngs=nnx.Rngs(0))
    assert mask.describe(made)["kernel"] == "in out out"


def test_cells_of_nnx_are_looked_into():
    @nnx.vmap(in_axes=0, out_axes=0)
    def stacked(key):
        return nnx.LSTMCell(4, 8, rngs=nnx.Rngs(key))

    found = mask.describe(stacked(jax.random.split(KEY, 5)))
    assert {words for path, words in found.items() if "kernel" in path} == {"layers in out"}
