import json
import sys

import jax
import ml_dtypes
import numpy as np
import pytest
from checkpoints import SMALL, assert_same, without_head
from safetensors import safe_open
from safetensors.numpy import save_file

from jaxmask import model
from jaxmask.errors import InputError
from jaxmask.model import pretrained


@pytest.mark.parametrize("name", SMALL)
def test_there_and_back(name, small, tmp_path):
    width, pixels, layout = SMALL[name]
    variables = small(name)
    state = pretrained.export(variables, name, layout)
    pretrained.save(tmp_path / "weights.safetensors", state)
    loaded, about = pretrained.load(tmp_path / "weights.safetensors", name, width=width)
    assert_same(loaded, variables)
    assert about["layout"] == layout
    assert about["classes"] == 3
    assert about.get("size") == (pixels if "vit" in name else None)
    again = pretrained.export(loaded, name, layout)
    assert again.keys() == state.keys()
    assert all(np.array_equal(again[key], state[key]) for key in state)


def test_layout_of_the_arrays(small):
    variables = small("resnet20")
    state = pretrained.export(variables, "resnet20", "cifar")
    kernel = variables["params"]["layer2_0"]["conv1"]["kernel"]
    assert state["layer2.0.conv1.weight"].shape == (8, 4, 3, 3)
    assert state["layer2.0.conv1.weight"][5, 2, 1, 0] == kernel[1, 0, 2, 5]
    assert state["linear.weight"][2, 7] == variables["params"]["head"]["kernel"][7, 2]
    stats = variables["batch_stats"]["layer3_2"]["bn2"]
    np.testing.assert_array_equal(state["layer3.2.bn2.running_var"], stats["var"])
    assert not [key for key in state if "/" in key or "num_batches" in key]
    assert all(leaf.flags.c_contiguous for leaf in state.values())  # otherwise safetensors errs


EXTRAS = {
    "swav": {
        "module.projection_head.0.weight": (6, 4),
        "module.projection_head.1.running_mean": (6,),
        "module.prototypes.weight": (5, 6),
    },
    "dino": {
        "head.mlp.0.weight": (6, 4),
        "head.last_layer.weight_g": (6, 1),
        "backbone.fc.weight": (7, 4),
    },
    "torchvision": {"bn1.num_batches_tracked": ()},
}


@pytest.mark.parametrize("layout", EXTRAS)
def test_self_supervised_heads_are_dropped(layout, small, tmp_path):
    variables = without_head(small("resnet50"))
    prefix = {"swav": "module.", "dino": "backbone."}.get(layout, "")
    state = pretrained.export(variables, "resnet50", layout)
    state = {prefix + key: leaf for key, leaf in state.items()}
    extras = {key: np.ones(shape, np.float32) for key, shape in EXTRAS[layout].items()}
    save_file({**state, **extras}, tmp_path / "weights.safetensors")
    loaded, about = pretrained.load(tmp_path / "weights.safetensors", "resnet50", width=0.05)
    assert_same(loaded, variables)
    assert about["layout"] == layout
    assert about["classes"] is None
    assert about["mean"] == [0.485, 0.456, 0.406]
    again = pretrained.export(loaded, "resnet50", layout, about["names"])
    assert again.keys() == state.keys()


@pytest.mark.parametrize(
    "dtype", [np.float16, ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn, np.float64]
)
def test_other_dtypes_become_float32(dtype, small, tmp_path):
    state = pretrained.export(small("resnet20"), "resnet20", "cifar")
    mixed = {
        key: leaf.astype(dtype) if leaf.ndim == 4 else np.ascontiguousarray(leaf)
        for key, leaf in state.items()
    }
    save_file({**mixed, "bn1.num_batches_tracked": np.array(3)}, tmp_path / "model.safetensors")
    loaded, _ = pretrained.load(tmp_path, "resnet20", width=0.25)
    expected = state["conv1.weight"].astype(dtype).astype(np.float32)
    got = loaded["params"]["conv1"]["kernel"]
    assert {leaf.dtype for leaf in jax.tree.leaves(loaded)} == {np.dtype(np.float32)}
    np.testing.assert_array_equal(got.transpose(3, 2, 0, 1), expected)


@pytest.mark.parametrize(
    ("name", "files", "layout", "mean"),
    [
        ("resnet20", {}, "cifar", None),
        ("resnet18", {}, "torchvision", 0.485),
        ("resnet18", {"config.json": {"architecture": "resnet18"}}, "timm", 0.485),
        ("vit_ti16", {}, "timm", None),
        ("clip_vit_b32", {}, "clip", 0.48145466),
        (
            "vit_ti16",
            {"config.json": {"pretrained_cfg": {"mean": [0.25] * 3, "std": [0.5] * 3}}},
            "timm",
            0.25,
        ),
        (
            "clip_vit_b32",
            {"preprocessor_config.json": {"image_mean": [0.75] * 3, "image_std": [0.5] * 3}},
            "clip",
            0.75,
        ),
    ],
)
def test_what_is_known_of_the_images(name, files, layout, mean, small, tmp_path):
    width, _, kind = SMALL[name]
    state = pretrained.export(small(name), name, kind)
    pretrained.save(tmp_path / "model.safetensors", state)
    for file, content in files.items():
        (tmp_path / file).write_text(json.dumps(content))
    _, about = pretrained.load(tmp_path, name, width=width)
    assert about["layout"] == layout
    assert about.get("mean", [None])[0] == mean
    assert ("std" in about) == ("mean" in about)


def test_positions_for_other_images(small, tmp_path):
    variables = small("vit_ti16")
    pretrained.save(tmp_path / "a.safetensors", pretrained.export(variables, "vit_ti16", "timm"))
    loaded, about = pretrained.load(tmp_path / "a.safetensors", "vit_ti16", width=0.125, size=80)
    assert about["size"] == 80
    assert loaded["params"]["position"].shape == (26, 24)
    loaded["params"]["position"] = variables["params"]["position"]
    assert_same(loaded, variables)


def test_cifar_stem(random_variables, tmp_path):
    module = model.create("resnet18", classes=3, width=0.1, stem="cifar")
    variables = random_variables(module, (8, 8, 3))
    path = tmp_path / "a.safetensors"
    pretrained.save(path, pretrained.export(variables, "resnet18", "torchvision"))
    assert_same(pretrained.load(path, "resnet18", width=0.1, stem="cifar").variables, variables)
    with pytest.raises(InputError, match=r"conv1.weight \(6, 3, 3, 3\) instead of \(6, 3, 7, 7\)"):
        pretrained.load(path, "resnet18", width=0.1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("layer1.2.bn1.running_mean"), "they lack layer1.2.bn1.running_mean$"),
        (lambda s: s.pop("linear.bias"), "they lack linear.bias$"),
        (lambda s: s.update({"extra.w": s["bn1.bias"]}), "they also have extra.w$"),
        (
            lambda s: s.update({"linear.weight": np.zeros((3, 9), np.float32)}),
            r"they have linear.weight \(3, 9\) instead of \(3, 16\)$",
        ),
        (
            lambda s: s.update({"bn1.bias": s["bn1.bias"][None], "x": s.pop("bn1.weight")}),
            r"lack bn1.weight; also have x; have bn1.bias \(1, 4\) instead of \(4,\)$",
        ),
        (lambda s: s.clear(), r"they lack bn1.bias, .* and \d+ more$"),
    ],
)
def test_weights_that_do_not_fit(change, message, small, tmp_path):
    state = dict(pretrained.export(small("resnet20"), "resnet20", "cifar"))
    change(state)
    pretrained.save(tmp_path / "a.safetensors", state)
    with pytest.raises(InputError, match=message) as caught:
        pretrained.load(tmp_path / "a.safetensors", "resnet20", width=0.25)
    assert "\n" not in str(caught.value)
    assert "do not fit resnet20" in str(caught.value)


def test_wrong_source(small, tmp_path, monkeypatch):
    file = tmp_path / "a.safetensors"
    pretrained.save(file, pretrained.export(small("vit_ti16"), "vit_ti16", "timm"))
    with pytest.raises(InputError, match=r"lack .* also have .*blocks.0.attn.qkv.bias"):
        pretrained.load(file, "resnet18")
    with pytest.raises(InputError, match="vgg11 has no known names in PyTorch"):
        pretrained.load(file, "vgg11")
    with pytest.raises(InputError, match="size is 30"):
        pretrained.load(file, "vit_ti16", width=0.125, size=30)
    file.write_bytes(file.read_bytes()[:-8])
    with pytest.raises(InputError, match="is not a complete safetensors file"):
        pretrained.load(file, "vit_ti16")
    monkeypatch.setitem(sys.modules, "torch", None)
    (tmp_path / "a.pth").write_bytes(b"")
    with pytest.raises(InputError, match=r"a.pth is not a complete PyTorch file"):
        pretrained.load(tmp_path / "a.pth", "resnet18")
    with pytest.raises(InputError, match=r"write \S+b.pth needs PyTorch; install it, or write"):
        pretrained.save(tmp_path / "b.pth", {})


def test_is_ours(tmp_path, small):
    assert not pretrained.is_ours(tmp_path)
    assert not pretrained.is_ours(tmp_path / "a.safetensors")
    flat = {"params/conv1/kernel": np.ones(3), "batch_stats/bn1/mean": np.ones(3)}
    save_file(flat, tmp_path / "weights.safetensors")
    assert pretrained.is_ours(tmp_path / "weights.safetensors")
    assert pretrained.is_ours(str(tmp_path))
    state = pretrained.export(small("resnet20"), "resnet20", "cifar")
    pretrained.save(tmp_path / "a.safetensors", state)
    assert not pretrained.is_ours(tmp_path / "a.safetensors")
    (tmp_path / "b.safetensors").write_bytes(b"abc")
    assert not pretrained.is_ours(tmp_path / "b.safetensors")
    assert not pretrained.is_ours("hub:owner/name")


def test_save_is_whole_or_nothing(tmp_path, monkeypatch):
    path = tmp_path / "a.safetensors"
    pretrained.save(path, {"w": np.ones((2, 3)).T})
    with safe_open(path, "numpy") as file:
        assert file.metadata() == {"format": "pt"}
        assert file.get_tensor("w").shape == (3, 2)
    before = path.read_bytes()

    def broken(part, content):
        part.touch()
        raise OSError("disk full")

    monkeypatch.setattr("pathlib.Path.write_bytes", broken)
    with pytest.raises(OSError, match="disk full"):
        pretrained.save(path, {"w": np.zeros(2)})
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["a.safetensors"]
    for wrong, message in (
        (tmp_path / "a.npz", "neither .safetensors nor .pth"),
        (tmp_path / "no" / "a.pth", "there is no folder"),
    ):
        with pytest.raises(InputError, match=message):
            pretrained.save(wrong, {"w": np.zeros(2)})


@pytest.mark.parametrize(
    ("classes", "template", "message"),
    [(["cat"], "a photo", "give a text with {}"), ([], "a {}", "0 classes")],
)
def test_text_head_without_a_text(classes, template, message):
    with pytest.raises(InputError, match=message):
        pretrained.text_head("model.safetensors", classes, template)


def test_text_head_of_an_image_tower(small, tmp_path):
    state = pretrained.export(without_head(small("clip_vit_b32")), "clip_vit_b32", "clip")
    pretrained.save(tmp_path / "model.safetensors", state)
    with pytest.raises(InputError, match="has no CLIP text tower: it lacks text_model"):
        pretrained.text_head(tmp_path, ["cat"])


@pytest.mark.parametrize("value", [-1e-6, -np.inf])
def test_a_negative_variance_is_refused(value, small, tmp_path):
    state = dict(pretrained.export(small("resnet20"), "resnet20", "cifar"))
    state["layer2.1.bn2.running_var"] = state["layer2.1.bn2.running_var"].copy()
    state["layer2.1.bn2.running_var"][3] = value
    pretrained.save(tmp_path / "a.safetensors", state)
    with pytest.raises(InputError, match=r"variance layer2.1.bn2.running_var in .* is negative"):
        pretrained.load(tmp_path / "a.safetensors", "resnet20", width=0.25)
