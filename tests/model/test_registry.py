import re

import containers
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmask import model
from jaxmask.errors import InputError
from jaxmask.model import registry

IMAGE = (16, 16, 1)  # the smallest that every network takes, except with patches of 32 pixels
CONVOLUTIONAL = ("lenet_300_100", "lenet5", "conv2", "resnet20", "vgg11", "resnet18", "resnet50")
MOBILE = ("mobilenetv2", "efficientnet_lite0")  # computed with fewer blocks, in test_mobile
# without those that only are deeper
SHALLOW = [name for name in model.names() if not re.fullmatch(r"efficientnet_lite[1-4]", name)]
TRANSFORMERS = ("vit_s32", "clip_vit_b32")  # one for each module
TEXTS = ("distilbert", "bert_tiny")  # without token types and with them
FAMILIES = (*TEXTS, *TRANSFORMERS, *CONVOLUTIONAL)
OF_BLOCKS = tuple(name for name in model.names() if "vit" in name or registry.reads_texts(name))
WITHOUT_BATCH_NORM = ("lenet_300_100", "lenet5", "conv2", "conv4", "conv6", *TRANSFORMERS, *TEXTS)

# Jitting these is faster. In the others every block repeats: without jit each compiles once.
JITTED = (*WITHOUT_BATCH_NORM, "resnet50")


def image_of(name):
    if registry.reads_texts(name):
        return (7,)
    return (32, 64, 1) if name.endswith("32") and "vit" in name else IMAGE


def some_images(name="resnet20"):
    if registry.reads_texts(name):
        return np.array([[1, 2, 3, 4, 0, 0, 0], [5, 4, 3, 2, 1, 6, 0]], np.int32)
    return np.random.default_rng(0).normal(size=(2, *image_of(name))).astype(np.float32)


def create(name, width=0.1, **options):
    """A small network of three classes; one of twelve equal blocks has two here."""
    module = model.create(name, classes=3, width=width, **options)
    return module.clone(blocks=2) if name in OF_BLOCKS else module


def test_names():
    assert len(model.names()) == len(set(model.names())) == 36
    assert set(FAMILIES) <= set(model.names())


@pytest.mark.parametrize(
    ("name", "width"),
    [
        *((name, 0.1) for name in (*FAMILIES, "conv6")),
        ("resnet20", 0.2),
    ],
)
def test_forward_and_gradient(name, width, random_variables):
    module = create(name, width)
    variables = random_variables(module, image_of(name))
    x = some_images(name)

    def loss(params):
        logits = module.apply({**variables, "params": params}, x)
        return jnp.mean(jax.nn.log_softmax(logits)[:, 0]), logits

    grad = jax.grad(loss, has_aux=True)
    gradient, logits = (jax.jit(grad) if name in JITTED else grad)(variables["params"])
    assert logits.shape == (2, 3)
    assert logits.dtype == jnp.float32
    assert np.isfinite(logits).all()
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradient):
        assert np.isfinite(leaf).all(), path
        assert np.any(leaf != 0) or path[-1].key != "kernel", path


@pytest.mark.parametrize(
    "name",
    [*(name for name in SHALLOW if name not in (*FAMILIES, *MOBILE)), "efficientnet_lite4"],
)
def test_all_others_are_deeper_or_wider_ones_of_these(name):
    module = model.create(name, classes=3, width=0.1)
    kinds = {type(model.create(family, classes=3)) for family in (*FAMILIES, *MOBILE)}
    assert type(module) in kinds
    x = registry.zeros((7,) if registry.reads_texts(name) else (32, 32, 1), 2)
    logits, _ = jax.eval_shape(module.init_with_output, jax.random.key(0), x)
    assert (logits.shape, logits.dtype) == ((2, 3), jnp.float32)


@pytest.mark.parametrize("name", FAMILIES[1:-1])  # the first two and the last two are one module
def test_head_makes_the_logits_of_the_features(name, random_variables):
    module = create(name)
    variables = random_variables(module, image_of(name))
    features = module.apply(variables, some_images(name), features=True)
    logits = module.apply(variables, some_images(name))
    head = variables["params"]["head"]
    assert features.shape == (2, head["kernel"].shape[0])
    assert features.dtype == jnp.float32
    np.testing.assert_allclose(features @ head["kernel"] + head["bias"], logits, atol=1e-5)


@pytest.mark.parametrize("name", ["resnet20", "vgg11", "resnet18"])
def test_only_training_changes_batch_statistics(name, random_variables):
    module = model.create(name, classes=3, width=0.1)
    variables = random_variables(module, IMAGE)
    x = some_images()
    trained, update = module.apply(variables, x, train=True, mutable=["batch_stats"])
    before, after = variables["batch_stats"], update["batch_stats"]
    assert jax.tree.structure(before) == jax.tree.structure(after)
    assert all(jax.tree.leaves(jax.tree.map(lambda a, b: np.any(a != b), before, after)))
    logits, update = module.apply(variables, x, mutable=["batch_stats"])
    jax.tree.map(np.testing.assert_array_equal, before, update["batch_stats"])
    assert not np.allclose(trained, logits)


@pytest.mark.parametrize("name", WITHOUT_BATCH_NORM)
def test_training_without_batch_norm_is_harmless(name, random_variables):
    module = create(name)
    variables = random_variables(module, image_of(name))
    x = some_images(name)
    assert variables["batch_stats"] == {}
    logits, update = module.apply(variables, x, train=True, mutable=["batch_stats"])
    assert not jax.tree.leaves(update)
    np.testing.assert_array_equal(logits, module.apply(variables, x))


@pytest.mark.parametrize("name", FAMILIES)
def test_bfloat16_is_for_activations_only(name, random_variables):
    module = create(name, dtype="bfloat16")
    variables = random_variables(module, image_of(name))
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {np.dtype("float32")}
    (logits, update), program = (
        jax.eval_shape(
            lambda v, x: module.apply(v, x, train=True, mutable=["batch_stats"]),
            variables,
            some_images(name),
        ),
        jax.make_jaxpr(module.apply)(variables, some_images(name)),
    )
    assert logits.dtype == jnp.float32
    assert {leaf.dtype for leaf in jax.tree.leaves(update)} <= {np.dtype("float32")}
    layers = re.findall(r":(\w+)\[[\d,]*\] = (?:conv_general_dilated|dot_general)", str(program))
    assert layers[-1] == "f32"  # the head
    assert set(layers[:-1]) == {"bf16"}


def test_bfloat16_is_close_to_float32(random_variables):
    coarse = model.create("resnet20", classes=3, width=0.1, dtype=jnp.bfloat16)
    exact = model.create("resnet20", classes=3, width=0.1)
    variables = random_variables(exact, IMAGE)
    a, b = coarse.apply(variables, some_images()), exact.apply(variables, some_images())
    assert 0 < np.abs(a - b).max() < 0.05 * np.abs(b).max()


@pytest.mark.parametrize("name", FAMILIES)
def test_float64_throughout(name, random_variables):
    """SynFlow's products overflow float32, so nothing on the way may fall back to it."""
    module = create(name, dtype="float64")
    with jax.enable_x64(True):
        variables = random_variables(module, image_of(name))
        doubles = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), variables)
        x = some_images(name)
        x = x if name in TEXTS else x.astype(np.float64)
        program = jax.make_jaxpr(module.apply)(doubles, x)
    assert "f64[" in str(program)
    assert "f32[" not in str(program)


def winners(rules, paths):
    """{rule: the paths that it labels}: whole paths, the first rule wins."""
    won = {rule: [] for rule in rules}
    for path in paths:
        rule = next((rule for rule in rules if re.fullmatch(rule[0], path)), None)
        won.setdefault(rule, []).append(path)
    return won


@pytest.mark.parametrize("name", SHALLOW)
def test_every_parameter_but_the_heads_is_in_one_stage(name, shapes):
    paths = [p for p in shapes(name, image_of(name), classes=3, width=0.1) if "head/" not in p]
    stages = model.stages(name)
    found = [[i for i, stage in enumerate(stages) if re.fullmatch(stage, p)] for p in paths]
    assert [len(where) for where in found] == [1] * len(paths)
    assert {where[0] for where in found} == set(range(len(stages)))


@pytest.mark.parametrize(
    ("name", "firsts"),
    [
        ("lenet5", ["conv1/bias", "conv2/bias", "fc1/bias"]),
        ("conv4", ["conv2/bias", "conv3/bias", "fc1/bias", "fc2/kernel"]),
        ("vgg11", [f"conv{i}_1/kernel" for i in range(1, 6)]),
        ("resnet20", ["conv1/kernel", "layer2_0/conv1/kernel", "layer3_2/bn1/bias"]),
        ("resnet50", ["bn1/bias", *(f"layer{i}_2/conv3/kernel" for i in (2, 3, 4))]),
        (
            "mobilenetv2",
            [
                "stem_bn/bias",
                *(f"block{i}_0/project_bn/bias" for i in range(2, 7)),
                "last_conv/kernel",
            ],
        ),
        (
            "efficientnet_lite4",
            [
                "block1_0/depthwise_conv/kernel",
                *(f"block{i}_1/expand_conv/kernel" for i in range(2, 7)),
                "block7_0/expand_bn/scale",
            ],
        ),
        ("vit_b16", ["position", *(f"block{i}/query/bias" for i in range(1, 11)), "norm/scale"]),
        ("clip_vit_b32", ["pre_norm/bias", *(f"block{i}/fc1/bias" for i in range(1, 12))]),
        ("bert_tiny", ["embeddings/word/embedding", "block1/norm2/scale"]),
        ("distilbert", ["block0/query/bias", *(f"block{i}/fc1/kernel" for i in range(1, 6))]),
    ],
)
def test_stages_are_in_the_order_of_the_network(name, firsts):
    stages = model.stages(name)
    assert len(stages) == len(firsts)
    assert all(re.fullmatch(stage, path) for stage, path in zip(stages, firsts))


TRANSFORMER_LAYERS = r"block\d+/(query|key|value|out|fc1|fc2)/"


@pytest.mark.parametrize("name", OF_BLOCKS)
def test_rules_of_transformers_mask_the_layers_of_blocks(name, shapes):
    paths = shapes(name, image_of(name), classes=3, width=0.1)
    won = winners(model.rules(name), paths)
    masked = {path for rule, paths in won.items() if rule and rule[1] == "mask" for path in paths}
    trained = {path for rule, paths in won.items() if rule and rule[1] == "train" for path in paths}
    leaf = "(kernel|bias)" if name.startswith("clip") else "kernel"
    assert trained == {"head/kernel", "head/bias"}
    assert masked == {path for path in paths if re.fullmatch(TRANSFORMER_LAYERS + leaf, path)}
    assert len(masked) == model.create(name, classes=3).blocks * 6 * (
        2 if name.startswith("clip") else 1
    )


@pytest.mark.parametrize("name", [name for name in SHALLOW if name not in OF_BLOCKS])
def test_rules_mask_every_kernel_but_the_heads(name, shapes):
    paths = shapes(name, IMAGE, classes=3, width=0.1)
    won = winners(model.rules(name), paths)
    assert all(won[rule] for rule in model.rules(name))
    masked = {path for rule, paths in won.items() if rule and rule[1] == "mask" for path in paths}
    trained = {path for rule, paths in won.items() if rule and rule[1] == "train" for path in paths}
    assert trained == {"head/kernel", "head/bias"}
    assert masked == {path for path in paths if path.endswith("/kernel")} - trained


def test_initialize_without_batch_norm():
    module = model.create("lenet5", classes=10)
    variables = model.initialize(module, jax.random.key(0), (28, 28, 1))
    params = variables["params"]
    assert variables["batch_stats"] == {}
    assert type(params) is type(params["fc1"]) is dict
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {np.dtype("float32")}
    for name, fan_in in (("conv2", 25 * 20), ("fc1", 4 * 4 * 50), ("head", 500)):
        assert abs(np.std(params[name]["kernel"]) / np.sqrt(2 / fan_in) - 1) < 0.05
        np.testing.assert_array_equal(params[name]["bias"], 0.0)


def test_initialize_makes_batch_norms_the_identity():
    module = model.create("resnet20", classes=10, width=0.25)

    @jax.jit  # what is not returned is neither computed nor compiled
    def some(key):
        variables = model.initialize(module, key, (8, 8, 3))
        assert type(variables["params"]["layer3_1"]) is dict
        return [variables[c]["layer3_1"]["bn2"] for c in ("params", "batch_stats")]

    params, stats = some(jax.random.key(0))
    for leaf, value in ((params["scale"], 1), (params["bias"], 0), (stats["mean"], 0)):
        np.testing.assert_array_equal(leaf, np.full(16, value))
    np.testing.assert_array_equal(stats["var"], np.ones(16))


def test_initialize_is_a_function_of_the_key():
    module = model.create("lenet_300_100", classes=3, width=0.1)
    kernels = [
        model.initialize(module, jax.random.key(seed), IMAGE)["params"]["fc1"]["kernel"]
        for seed in (0, 0, 1)
    ]
    np.testing.assert_array_equal(kernels[0], kernels[1])
    assert np.any(kernels[0] != kernels[2])


def test_count():
    assert model.count({"a": np.zeros((2, 3)), "b": {"c": np.float32(1), "hole": None}}) == 7
    assert model.count({}) == 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: model.create("resnet21", classes=10), "no network 'resnet21'; did you mean"),
        (lambda: model.rules("vgg"), "no network 'vgg'; did you mean"),
        (lambda: model.create("resnet18", classes=10, sten="cifar"), "'sten'; did you mean 'stem'"),
        (lambda: model.create("resnet20", classes=10, stem="cifar"), "resnet20 has no option"),
        (lambda: model.create("resnet18", classes=10, stem="cifar10"), "did you mean 'cifar'"),
        (lambda: model.create("bert_tiny", classes=2, pool="max"), "no pool 'max'; did you mean"),
        (lambda: model.create("bert_tiny", classes=2, mlm=2), "no mlm 2; known: False, True"),
        (lambda: model.create("bert_tiny", classes=2, context=0), "context 0; give a whole number"),
        (lambda: model.create("distilbert", classes=2, types=1.0), "types 1.0; give a whole"),
        (lambda: model.create("minilm_l6", classes=2, attention="bigbrid"), "no attention"),
        (lambda: model.create("vgg16", classes=0), "classes is 0"),
        (lambda: model.create("vgg16", classes=2.5), "classes is 2.5"),
        (lambda: model.create("vgg16", classes=10, width=0), "width is 0"),
        (lambda: model.create("vgg16", classes=10, width=float("nan")), "width is nan"),
        (lambda: model.create("vgg16", classes=10, width="wide"), "width is 'wide'"),
        (lambda: model.create("vgg16", classes=10, dtype="bf16"), "no dtype 'bf16'"),
        (lambda: model.create("vgg16", classes=10, dtype="int32"), "cannot compute in int32"),
    ],
)
def test_wrong_arguments(call, message):
    with pytest.raises(InputError, match=message):
        call()


@pytest.mark.parametrize("image_shape", [(28, 28), (0, 28, 1), (1, 28, 28, 1), (0,), ()])
def test_wrong_image_shape(image_shape):
    module = model.create("lenet_300_100", classes=10)
    with pytest.raises(InputError, match=r"give \(height, width, channels\)"):
        model.initialize(module, jax.random.key(0), image_shape)


def test_images_are_no_texts_and_texts_no_images():
    with pytest.raises(InputError, match=r"takes floating point images .* not int32 of shape"):
        model.initialize(model.create("lenet5", classes=3), jax.random.key(0), (28,))
    with pytest.raises(InputError, match=r"takes token ids int \[B, L\], .* not float32 of shape"):
        model.initialize(model.create("bert_tiny", classes=3), jax.random.key(0), (28, 28, 1))


def test_boxed_parameters_are_unboxed():
    """Their notes say how to divide arrays between devices, which is not for the weights."""
    boxed = containers.Linen(lambda init: nn.with_partitioning(init, ("in", "out")))

    class Flat(nn.Module):
        @nn.compact
        def __call__(self, x):
            return boxed.copy(name="net")(x.reshape(len(x), -1))

    found = model.initialize(Flat(), jax.random.key(0), (2, 2, 1))
    plain = containers.Linen().init(jax.random.key(0), np.ones((1, 4)))["params"]
    assert jax.tree.structure(found["params"]["net"]) == jax.tree.structure(plain)
