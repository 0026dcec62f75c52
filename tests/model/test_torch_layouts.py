"""Kinds of checkpoints: what settles them, what is left out, and what is not supported."""

import json

import numpy as np
import pytest
from checkpoints import SMALL, assert_same, changed, without_head
from safetensors.numpy import save_file

from jaxmask.errors import InputError
from jaxmask.model import pretrained


@pytest.mark.parametrize(
    ("name", "add", "drop", "message"),
    [
        ("vit_ti16", {"reg_token": (1, 4, 24)}, (), r"has register tokens \(reg_token\), which"),
        ("vit_ti16", {"register_tokens": (1, 4, 24), "blocks.0.ls1.gamma": (24,)}, (),
         r"has layer scale \(blocks.0.ls1.gamma\) and register tokens \(register_tokens\), which"),
        ("vit_ti16", {"pos_embed": (1, 9, 24)}, ("cls_token",), r"no class token \(cls_token\)"),
        ("vit_ti16", {"fc_norm.weight": (24,), "fc_norm.bias": (24,)}, ("norm.", "cls_token"),
         r"pooling over all patches \(fc_norm.bias\) and no class token"),
        ("vit_ti16", {"pos_embed": (1, 9, 24)}, (), r"positions for patches alone \(pos_embed"),
        ("vit_ti16", {"pos_embed": (1, 13, 24)}, (), "positions for no square of patches"),
        ("vit_ti16", {"dist_token": (1, 1, 24), "head_dist.weight": (3, 24),
                      "pos_embed": (1, 11, 24)}, (), r"a distillation token \(dist_token\), which"),
        ("vit_ti16", {"blocks.3.attn.q_norm.weight": (8,)}, (), "norms of queries and keys"),
        ("resnet18", {"layer1.0.se.fc1.weight": (1, 1)}, (), "squeeze-and-excitation"),
        ("efficientnet_lite0", {"_blocks.3._se_reduce.weight": (1, 4, 1, 1)}, (),
         r"squeeze-and-excitation \(_blocks.3._se_reduce.weight\)"),
        ("resnet20", {"layer2.0.downsample.0.weight": (8, 4, 1, 1)}, (), "has other shortcuts"),
        ("resnet18", {"conv1.parametrizations.weight.original0": (6,)}, ("conv1.",),
         "reparametrized weights"),
    ],
)  # fmt: skip
def test_parts_that_are_not_supported_are_named_in_a_short_sentence(
    name, add, drop, message, small, tmp_path
):
    width, _, layout = SMALL[name]
    state = pretrained.export(small(name), name, layout)
    pretrained.save(tmp_path / "a.safetensors", changed(state, add=add, drop=drop))
    with pytest.raises(InputError, match=message) as caught:
        pretrained.load(tmp_path / "a.safetensors", name, width=width)
    assert f"which {name} does not support" in str(caught.value)
    assert len(str(caught.value)) < len(str(tmp_path)) + 200


@pytest.mark.parametrize(
    ("name", "layout", "architecture", "told"),
    [
        ("mobilenetv2", "torchvision", "mobilenet_v2", ("torchvision", 0.485)),
        ("mobilenetv2", "timm", "mobilenetv2_100", ("timm", 0.485)),
        ("efficientnet_lite0", "lite", "", ("lite", 127 / 255)),
        ("efficientnet_lite0", "timm", "tf_efficientnet_lite0.in1k", ("timm", None)),
        ("efficientnet_lite0", "timm", "", ("timm", None)),
        ("efficientnet_lite0", "timm", "efficientnet_lite0", None),
    ],
)
def test_names_of_mobile_networks_and_what_lies_beside_tell_the_rest(
    name, layout, architecture, told, small, tmp_path
):
    variables = small(name)
    state = pretrained.export(variables, name, layout)
    pretrained.save(tmp_path / "model.safetensors", state)
    if architecture:
        (tmp_path / "config.json").write_text(json.dumps({"architecture": architecture}))
    if told is None:  # its padding and epsilon are PyTorch's
        with pytest.raises(InputError, match=r"is TIMM's efficientnet_lite0, .* give tf_effi"):
            pretrained.load(tmp_path, name, width=0.1)
        return
    loaded, about = pretrained.load(tmp_path, name, width=0.1)
    assert_same(loaded, variables)
    assert (about["layout"], about.get("mean", [None])[0]) == told
    assert (told[1] is None) == ("tf_efficientnet_lite" in about.get("unsettled", ""))


def test_another_network_is_told_in_a_few_names(small, tmp_path):
    path = tmp_path / "a.safetensors"
    pretrained.save(path, pretrained.export(small("resnet50"), "resnet50", "torchvision"))
    with pytest.raises(InputError, match=r"also have layer1.0.bn3.bias, .* and \d+ more") as caught:
        pretrained.load(path, "resnet18", width=0.05)
    assert len(str(caught.value)) < len(str(tmp_path)) + 500


@pytest.mark.parametrize(
    ("name", "key", "dtype"),
    [
        ("resnet20", "layer1.0.conv1.weight", np.complex64),
        ("resnet20", "bn1.bias", np.int32),
        ("vit_ti16", "pos_embed", np.int8),
    ],
)
def test_numbers_that_are_not_real_are_refused(name, key, dtype, small, tmp_path):
    width, _, layout = SMALL[name]
    state = pretrained.export(small(name), name, layout)
    save_file(changed(state, turn={key: dtype}), tmp_path / "a.safetensors")
    with pytest.raises(InputError, match=f"{key} in .* is of {np.dtype(dtype)}"):
        pretrained.load(tmp_path / "a.safetensors", name, width=width)


def test_a_text_tower_is_of_real_numbers_too(tmp_path):
    state = {"text_model.encoder.layers.0.mlp.fc1.weight": np.ones((4, 4), np.float32)}
    save_file({**state, "logit_scale": np.ones(1, np.complex64)}, tmp_path / "a.safetensors")
    with pytest.raises(InputError, match=r"logit_scale in .* is of complex64"):
        pretrained.text_head(tmp_path / "a.safetensors", ["cat"])


# what training leaves in a file -> the mean of its images, if that settles it
KINDS = {
    "timm": ((), None),
    "dino": (("head.last_layer.weight_v", "head.mlp.0.bias", "backbone.masked_embed"), 0.485),
    "moco": (("momentum_encoder.norm.bias", "predictor.0.weight"), 0.485),
    "mae": (("mask_token", "decoder_pred.weight", "decoder_blocks.0.norm1.bias"), 0.485),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("prefix", ["", "module.", "net."])
def test_a_kind_settles_how_images_are_normalized(kind, prefix, small, tmp_path):
    more, mean = KINDS[kind]
    inner = {"dino": "backbone.", "moco": "base_encoder."}.get(kind, "")
    state = pretrained.export(without_head(small("vit_ti16")), "vit_ti16", "timm")
    state = {prefix + inner + key: leaf for key, leaf in state.items()}
    state |= {prefix + key: np.ones(3, np.float32) for key in more}
    pretrained.save(tmp_path / "a.safetensors", state)
    _, about = pretrained.load(tmp_path / "a.safetensors", "vit_ti16", width=0.125)
    assert about["layout"] == kind
    assert about.get("mean", [None])[0] == mean
    assert about["normalization"] == ("kind" if mean else "unknown")
    assert bool(about.get("unsettled")) == (mean is None)


def test_the_header_of_a_file_settles_it_first(small, tmp_path):
    state = pretrained.export(small("vit_ti16"), "vit_ti16", "timm")
    header = {"mean": "[0.1, 0.2, 0.3]", "std": "[1, 2, 3]"}
    pretrained.save(tmp_path / "model.safetensors", state, header)
    (tmp_path / "config.json").write_text('{"mean": [0.5, 0.5, 0.5], "std": [1, 1, 1]}')
    _, about = pretrained.load(tmp_path, "vit_ti16", width=0.125)
    assert (about["mean"], about["std"]) == ([0.1, 0.2, 0.3], [1.0, 2.0, 3.0])
    assert about["normalization"] == "file"
    pretrained.save(tmp_path / "model.safetensors", state, {**header, "std": "[1, 2]"})
    with pytest.raises(InputError, match=r"model.safetensors gives is \[1, 2\], not 3 numbers"):
        pretrained.load(tmp_path, "vit_ti16", width=0.125)


@pytest.mark.parametrize("name", SMALL)
def test_what_is_taken_off_the_names_is_said(name, small, tmp_path, caplog):
    width, _, layout = SMALL[name]
    variables = small(name)
    state = pretrained.export(variables, name, layout)
    pretrained.save(tmp_path / "a.safetensors", state)
    pretrained.load(tmp_path / "a.safetensors", name, width=width)
    assert not caplog.records
    own = {f"task.net.{key}": leaf for key, leaf in state.items()}
    more = {"task.loss.weight": np.ones(1, np.float32), "n_averaged": np.ones((), np.int64)}
    pretrained.save(tmp_path / "a.safetensors", {**own, **more})
    loaded, about = pretrained.load(tmp_path / "a.safetensors", name, width=width)
    assert_same(loaded, variables)
    (record,) = caplog.records
    assert record.getMessage().endswith("takes 'task.net.' off the names, leaves out task.loss")
    assert pretrained.export(loaded, name, layout, about["names"]).keys() == own.keys()
