"""Names and shapes of torchvision, TIMM and others, against recorded lists of theirs."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest
from flax import traverse_util

from jaxmask import model
from jaxmask.errors import InputError
from jaxmask.model import clip, torch_names

RECORDED = Path(__file__).parent / "recorded"
NETWORKS = {
    "resnet18": "resnet18",
    "resnet34": "resnet34",
    "resnet50": "resnet50",
    "vit_base_patch32_224": "vit_b32",
    "clip_vit_base_patch32": "clip_vit_b32",
    "mobilenet_v2": "mobilenetv2",  # torchvision's
    "tf_efficientnet_lite2": "efficientnet_lite2",  # TIMM's
    "efficientnet_lite0": "efficientnet_lite0",  # of efficientnet_lite_pytorch
}


def recorded(file):
    found = json.loads((RECORDED / f"{file}.json").read_text())
    return {key: tuple(shape) for key, shape in found.items()}


def flat_shapes(variables):
    flat = traverse_util.flatten_dict(variables, sep="/")
    return {path: leaf.shape for path, leaf in flat.items()}


def ours(name):
    module = model.create(name, classes=1000)
    shapes = flat_shapes(
        jax.eval_shape(lambda k: model.initialize(module, k, (224, 224, 3)), jax.random.key(0))
    )
    if name.startswith("clip"):
        shapes = {path: shape for path, shape in shapes.items() if "/head/" not in path}
    return shapes


@pytest.fixture(scope="module", params=NETWORKS)
def network(request):
    """(recorded shapes without what is dropped, our shapes, the layout)."""
    name = NETWORKS[request.param]
    theirs = recorded(request.param)
    which, bare = torch_names.recognize(theirs, name)
    return (
        {key: theirs[whole] for key, whole in bare.items()},
        ours(name),
        torch_names.layout(name, which),
    )


def test_recorded_names_and_shapes_are_the_networks(network):
    theirs, shapes, layout = network
    assert torch_names.misfits(theirs, shapes, layout) == []


def test_every_missing_extra_and_misshapen_name_is_reported(network):
    theirs, shapes, layout = network
    for key in list(theirs)[:: max(1, len(theirs) // 12)]:
        without = {name: shape for name, shape in theirs.items() if name != key}
        assert torch_names.misfits(without, shapes, layout) == [f"lack {key}"]
        other = (7, *theirs[key][1:])
        assert torch_names.misfits({**theirs, key: other}, shapes, layout) == [
            f"have {key} {other} instead of {theirs[key]}"
        ]
        turned = {**theirs, key: (*theirs[key], 1)}
        assert len(torch_names.misfits(turned, shapes, layout)) == 1
        extra = {**theirs, f"{key}_mask": (3,)}
        assert torch_names.misfits(extra, shapes, layout) == [f"also have {key}_mask"]


def test_many_differences_are_counted():
    shapes = ours("resnet18")
    layout = torch_names.layout("resnet18", "torchvision")
    (told,) = torch_names.misfits({}, shapes, layout)
    assert told.startswith("lack bn1.bias, bn1.running_mean, ")
    assert told.endswith("and 99 more")  # of 122, 20 are counters


@pytest.mark.parametrize(
    "file", [name for name in NETWORKS if name not in ("resnet34", "resnet50")]
)
def test_small_arrays_go_there_and_back(file):
    """The same names at other sizes: each of our leaves is in its place, none is lost."""
    name = NETWORKS[file]
    which, bare = torch_names.recognize(recorded(file), name)
    layout = torch_names.layout(name, which)
    rng = np.random.default_rng(0)
    shapes = {
        path: tuple(min(n, 2 + i) for i, n in enumerate(shape))
        for path, shape in ours(name).items()
    }
    flat = {path: rng.normal(size=shape).astype(np.float32) for path, shape in shapes.items()}
    state = torch_names.to_theirs(flat, layout)
    assert state.keys() == bare.keys()
    back = torch_names.to_ours(state, shapes, layout)
    assert back.keys() == flat.keys()
    for path, leaf in flat.items():
        np.testing.assert_array_equal(back[path], leaf)


def test_whole_random_checkpoint_converts():
    """ResNet-18 at its full size, from arrays of torchvision's names and shapes."""
    rng = np.random.default_rng(0)
    _, bare = torch_names.recognize(recorded("resnet18"), "resnet18")
    state = {key: rng.random(recorded("resnet18")[key], np.float32) for key in bare}
    layout = torch_names.layout("resnet18", "torchvision")
    flat = torch_names.to_ours(state, ours("resnet18"), layout)
    for path, key, order in (
        ("params/layer3_0/downsample_conv/kernel", "layer3.0.downsample.0.weight", (2, 3, 1, 0)),
        ("params/head/kernel", "fc.weight", (1, 0)),
        ("batch_stats/layer2_0/downsample_bn/var", "layer2.0.downsample.1.running_var", (0,)),
        ("params/bn1/scale", "bn1.weight", (0,)),
    ):
        np.testing.assert_array_equal(flat[path], state[key].transpose(order))
    back = torch_names.to_theirs(flat, layout)
    assert back.keys() == state.keys()
    assert all(np.array_equal(back[key], state[key]) for key in state)


def test_fused_projections_are_query_key_value():
    layout = torch_names.layout("vit_s16", "timm")
    qkv = np.arange(18.0).reshape(9, 2)  # nine outputs, two inputs
    paths = [f"params/block0/{part}/kernel" for part in ("value", "key", "query")]
    flat = torch_names.to_ours(
        {"blocks.0.attn.qkv.weight": qkv}, dict.fromkeys(paths, (2, 3)), layout
    )
    np.testing.assert_array_equal(flat["params/block0/query/kernel"], qkv[:3].T)
    np.testing.assert_array_equal(flat["params/block0/key/kernel"], qkv[3:6].T)
    np.testing.assert_array_equal(flat["params/block0/value/kernel"], qkv[6:].T)
    with pytest.raises(InputError, match="needs query, key and value"):
        torch_names.to_theirs({paths[0]: flat[paths[0]]}, layout)


def test_text_tower_of_clip():
    theirs = recorded("clip_vit_base_patch32")
    _, bare = torch_names.recognize(theirs, "clip text")
    module = clip.TextTower(
        vocabulary=49408, context=77, size=512, blocks=12, heads=8, projection=512
    )
    tokens = jax.ShapeDtypeStruct((1, 3), np.int32), jax.ShapeDtypeStruct((1,), np.int32)
    shapes = flat_shapes(jax.eval_shape(module.init, jax.random.key(0), *tokens))
    layout = torch_names.layout("clip text", "clip")
    have = {key: theirs[key] for key in bare if key != "logit_scale"}
    assert torch_names.misfits(have, shapes, layout) == []


BODY = ("conv1.weight", "layer1.0.bn1.running_var")
COUNTER = "layer1.0.bn1.num_batches_tracked"


@pytest.mark.parametrize(
    ("name", "keys", "layout", "dropped"),
    [
        ("resnet20", (*BODY, COUNTER, "linear.weight"), "cifar", {COUNTER}),
        ("resnet20", (*BODY, "fc.weight"), "torchvision", set()),
        ("resnet20", ("module.conv1.weight", "module.linear.weight"), "cifar", set()),
        ("resnet50", (*BODY, COUNTER, "fc.weight"), "torchvision", {COUNTER}),
        (
            "resnet50",
            ("module.conv1.weight", "module.projection_head.0.bias", "module.prototypes.weight"),
            "swav",
            {"module.projection_head.0.bias", "module.prototypes.weight"},
        ),
        ("resnet50", ("conv1.weight", "prototypes.prototypes0.weight", "fc.weight"), "swav",
         {"prototypes.prototypes0.weight", "fc.weight"}),
        (
            "resnet50",
            ("module.backbone.conv1.weight", "module.head.mlp.0.weight", "module.backbone.fc.bias"),
            "dino",
            {"module.head.mlp.0.weight", "module.backbone.fc.bias"},
        ),
        ("resnet50", ("backbone.conv1.weight", "head.last_layer.weight_g"), "dino",
         {"head.last_layer.weight_g"}),
        ("resnet18", ("conv1.weight", "decoder.weight", "modules.weight"), "torchvision", set()),
        ("resnet20", ("conv1.weight", "fc.weight_orig", "fc.weight_mask"), "torchvision", set()),
        ("mobilenetv2", ("features.0.1.bias", "features.2.conv.0.0.weight"), "torchvision", set()),
        ("mobilenetv2", ("module.bn1.bias", "module.blocks.1.0.conv_pwl.weight"), "timm", set()),
        ("efficientnet_lite3", ("bn1.bias", "blocks.0.0.conv_dw.weight"), "timm", set()),
        ("efficientnet_lite1", ("backbone._bn0.bias", "backbone._blocks.1._bn0.num_batches_tracked",
         "backbone._blocks.1._expand_conv.weight_orig"), "lite",
         {"backbone._blocks.1._bn0.num_batches_tracked"}),
        ("vit_s16", ("backbone.cls_token", "head.mlp.0.weight"), "dino", {"head.mlp.0.weight"}),
        ("vit_s16", ("cls_token", "head.weight"), "timm", set()),
        ("resnet50", ("module.conv1.weight", "module.projector.0.weight", "module.fc.2.bias"),
         "torchvision", {"module.projector.0.weight", "module.fc.2.bias"}),
        ("resnet18", ("net.backbone.conv1.weight", "net.projection_head.layers.0.weight"),
         "torchvision", {"net.projection_head.layers.0.weight"}),
        ("vit_s16", ("base_encoder.cls_token", "base_encoder.head.0.weight"), "timm",
         {"base_encoder.head.0.weight"}),
        (
            "clip_vit_b32",
            ("vision_model.embeddings.position_ids", "logit_scale", "text_projection.weight",
             "visual_projection.weight", "text_model.final_layer_norm.bias"),
            "clip",
            {"vision_model.embeddings.position_ids", "logit_scale", "text_projection.weight",
             "text_model.final_layer_norm.bias"},
        ),
    ],
)  # fmt: skip
def test_layouts_are_distinguished(name, keys, layout, dropped):
    which, bare = torch_names.recognize(keys, name)
    assert which == layout
    assert set(bare.values()) == set(keys) - dropped
    assert all(not key.startswith(("module.", "backbone.")) for key in bare)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: torch_names.layouts("vgg16"), "vgg16 has no known names in PyTorch"),
        (lambda: torch_names.layout("resnet18", "tim"), "no layout 'tim'; did you mean 'timm'"),
        (lambda: torch_names.layout("resnet20", "clip"), "'cifar'|cifar, torchvision"),
        (
            lambda: torch_names.their_name(
                "params/block0/query", torch_names.layout("vit_b16", "timm")
            ),
            "block0 has no name",
        ),
    ],
)
def test_unknown_names(call, message):
    with pytest.raises(InputError, match=message):
        call()
