"""Every kind of checkpoint: read, adapted, exported, and loaded strictly in a plain network."""

import argparse
import functools

import numpy as np
import pytest
import tasks
from flax import traverse_util

from jaxmask.cli import masks
from jaxmask.model import pretrained

torch = pytest.importorskip("torch")
networks = pytest.importorskip("torch_networks")
prune = pytest.importorskip("torch.nn.utils.prune")
swa_utils = pytest.importorskip("torch.optim.swa_utils")

pytestmark = pytest.mark.parity

CLASSES = ("owl", "hen", "jay", "tit")


def prefixed(prefix, state):
    return {prefix + key: leaf for key, leaf in state.items()}


def other(state):
    """Another network of the same names."""
    return {key: leaf + 1 for key, leaf in state.items()}


def trained(network):
    """What a training script saves: weights, their average, an optimizer, numbers, settings."""
    optimizer = torch.optim.SGD(network.parameters(), 0.1, momentum=0.9)
    for parameter in network.parameters():
        parameter.grad = torch.ones_like(parameter)
    kept = {key: leaf.clone() for key, leaf in network.state_dict().items()}
    optimizer.step()
    return {
        "epoch": 3,
        "best": np.float64(0.7),
        "args": argparse.Namespace(lr=0.1),
        "optimizer": optimizer.state_dict(),
        "model_ema": other(kept),
        "model": kept,
    }


def lightning(prefix, network):
    return {
        "state_dict": {**prefixed(prefix, network.state_dict()), "loss.weight": torch.ones(3)},
        "hyper_parameters": {"lr": np.float32(0.1)},
        "loops": {"fit": {"state": {}}},
        "pytorch-lightning_version": "2.5",
    }


def pruned(network):
    """Half of every convolution, and of the biases of the first norm, as PyTorch prunes."""
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d):
            prune.random_unstructured(module, "weight", 0.5)
    prune.l1_unstructured(network.bn1, "bias", 0.5)
    return prefixed("module.", network.state_dict())


def averaged(network):
    return swa_utils.AveragedModel(network).state_dict()


def compiled_inside(network):
    state = network.state_dict()
    return {key.replace("layer2.", "layer2._orig_mod."): leaf for key, leaf in state.items()}


def swav(network):
    heads = {"projection_head.0.weight": torch.ones(4, 8), "prototypes.weight": torch.ones(5, 4)}
    return {"state_dict": prefixed("module.", {**network.state_dict(), **heads}), "epoch": 3}


def dino(network, teacher="module."):
    state = prefixed("backbone.", network.state_dict())
    state |= {"head.mlp.0.weight": torch.ones(4, 4), "head.last_layer.weight_g": torch.ones(6, 1)}
    return {"student": prefixed("module.", other(state)), "teacher": prefixed(teacher, state)}


def student(network):
    return {"student": dino(network)["teacher"], "epoch": 3}


def moco(network):
    state = {**network.state_dict(), "fc.0.weight": torch.ones(4, 4), "fc.2.bias": torch.ones(9)}
    both = {**prefixed("encoder_q.", state), **prefixed("encoder_k.", other(state))}
    both |= {"queue": torch.ones(4, 8), "queue_ptr": torch.zeros(1, dtype=torch.long)}
    return {"arch": "resnet18", "state_dict": prefixed("module.", both)}


def moco_v1(network):
    """Its projection is one layer with the name and shapes of a head."""
    found = moco(network)
    state = {key: leaf for key, leaf in found["state_dict"].items() if ".fc." not in key}
    return {"state_dict": {**state, "module.encoder_q.fc.weight": torch.ones(128, 32)}}


def moco_v3(network):
    state = {**network.state_dict(), "head.0.weight": torch.ones(4, 4)}
    both = {**prefixed("base_encoder.", state), **prefixed("momentum_encoder.", other(state))}
    return {"state_dict": prefixed("module.", {**both, "predictor.0.weight": torch.ones(2, 2)})}


def mae(network):
    state = network.state_dict()
    decoder = {key: leaf for key, leaf in state.items() if key.startswith("blocks.")}
    decoder |= {"embed.weight": torch.ones(8, 12), "pred.bias": torch.ones(9)}
    decoder |= {"pos_embed": torch.ones(1, 5, 8)}
    mask = {"mask_token": torch.ones(1, 1, 8)}
    return {"model": {**state, **prefixed("decoder_", decoder), **mask}}


def as_is(prefix=""):
    return lambda network: prefixed(prefix, network.state_dict())


RESNET = ("resnet18", functools.partial(networks.ResNet, 0.0625, (2, 2, 2, 2), (3, 3)), 0.0625)
CIFAR = ("resnet20", functools.partial(networks.CifarResNet, 0.25), 0.25)
VIT = ("vit_ti16", functools.partial(networks.ViT, 12, 3, 16, 2), 0.0625)

# what is saved -> (network, classes of its head, how, its file, the kind, prefix of its names)
KINDS = {
    "torchvision": (RESNET, 5, as_is(), "a.pth", "torchvision", ""),
    "timm": (RESNET, 5, as_is(), "model.safetensors", "timm", ""),
    "one of several devices": (RESNET, 5, as_is("module."), "a.pt", "torchvision", "module."),
    "compiled": (RESNET, 5, as_is("_orig_mod."), "a.safetensors", "torchvision", "_orig_mod."),
    "both": (RESNET, 5, as_is("_orig_mod.module."), "a.pth", "torchvision", "_orig_mod.module."),
    "compiled inside": (RESNET, 5, compiled_inside, "a.pth", "torchvision", None),
    "averaged": (RESNET, 5, averaged, "a.pth", "torchvision", "module."),
    "DeepSpeed": (RESNET, 5, lambda net: {"module": as_is()(net)}, "a.pt", "torchvision", ""),
    "a training": (RESNET, 5, trained, "a.pth.tar", "torchvision", ""),
    "Lightning": (RESNET, 5, functools.partial(lightning, "model."), "a.ckpt", "torchvision",
                  "model."),
    "Lightning, net": (CIFAR, 5, functools.partial(lightning, "net."), "a.ckpt", "cifar", "net."),
    "Lightning, deeper": (VIT, 5, functools.partial(lightning, "task.encoder."), "a.ckpt", "timm",
                          "task.encoder."),
    "pruned": (RESNET, 5, pruned, "a.pth", "torchvision", "module."),
    "He et al.": (CIFAR, 5, lambda net: {"state_dict": as_is("module.")(net)}, "a.th", "cifar",
                  "module."),
    "CIFAR, fc": ((CIFAR[0], functools.partial(CIFAR[1], head="fc"), CIFAR[2]), 5, as_is(),
                  "a.pth", "torchvision", ""),
    "SwAV": (RESNET, 0, swav, "a.pth.tar", "swav", "module."),
    "DINO": (RESNET, 0, dino, "a.pth", "dino", "module.backbone."),
    "DINO, ViT": (VIT, 0, functools.partial(dino, teacher=""), "a.pth", "dino", "backbone."),
    "DINO's student": (VIT, 0, student, "a.pth", "dino", "module.backbone."),
    "MoCo": (RESNET, 0, moco, "a.pth.tar", "moco", "module.encoder_q."),
    "MoCo v1": (RESNET, 0, moco_v1, "a.pth.tar", "moco", "module.encoder_q."),
    "MoCo v3": (VIT, 0, moco_v3, "a.pth", "moco", "module.base_encoder."),
    "MAE": (VIT, 0, mae, "a.pth", "mae", ""),
    "TIMM's ViT": (VIT, 5, as_is(), "a.safetensors", "timm", ""),
}  # fmt: skip
TASKS = ("SwAV", "DINO", "MoCo", "MAE", "pruned", "He et al.")  # adapted; the others only read


def saved(folder, kind):
    """(path, the plain network's arrays) of a checkpoint."""
    (_, make, _), classes, wrap, file, _, _ = KINDS[kind]
    network = networks.randomized(make(classes))
    content, path = wrap(network), folder / file
    if kind == "timm":
        (folder / "config.json").write_text('{"architecture": "resnet18"}')
    if path.suffix == ".safetensors":
        pretrained.save(path, {key: leaf.numpy() for key, leaf in content.items()})
    else:
        torch.save(content, path)
    if kind == "pruned":
        for module in network.modules():
            for name in [key.removesuffix("_mask") for key, _ in module.named_buffers(recurse=False)
                         if key.endswith("_mask")]:  # fmt: skip
                prune.remove(module, name)
    if kind == "a training":
        network.load_state_dict(content["model"])
    return path, arrays_of(network)


def arrays_of(network):
    """The arrays of a network, without counters: those of PyTorch start at 0."""
    return {
        key: leaf.numpy().copy()
        for key, leaf in network.state_dict().items()
        if not key.endswith("num_batches_tracked")
    }


def loaded(path, network):
    """A plain network with the arrays of a file, as the README says: strictly."""
    if path.suffix == ".pth":
        state = torch.load(path, weights_only=True)
    else:
        from safetensors.torch import load_file

        state = load_file(path)
    network.load_state_dict(state)
    return arrays_of(network)


@pytest.mark.parametrize("kind", KINDS)
def test_a_plain_network_has_what_the_checkpoint_had(kind, tmp_path):
    (name, make, width), classes, _, _, layout, prefix = KINDS[kind]
    path, arrays = saved(tmp_path, kind)
    variables, about = pretrained.load(path, name, width=width)
    assert about["layout"] == layout
    out = tmp_path / "out.pth"
    pretrained.save(out, pretrained.export(variables, name, layout))
    found = loaded(out, make(classes))
    assert found.keys() == arrays.keys()
    for key, leaf in found.items():
        np.testing.assert_array_equal(leaf, arrays[key], err_msg=key)
    own = pretrained.export(variables, name, layout, about["names"])
    if prefix is not None:
        assert own.keys() == {prefix + key for key in found}
    else:
        assert own.keys() < compiled_inside(make(classes)).keys()


@pytest.mark.parametrize("kind", TASKS)
def test_what_is_learned_over_it_arrives_in_a_plain_network(kind, tmp_path, capsys):
    (name, make, width), _, _, _, layout, prefix = KINDS[kind]
    path, arrays = saved(tmp_path, kind)
    variables, _ = pretrained.load(path, name, width=width)
    flat = traverse_util.flatten_dict(variables["params"], sep="/")
    random = np.random.default_rng(1)
    bits = {key: random.random(leaf.shape) < 0.7 for key, leaf in flat.items()
            if key.endswith("kernel") and "head" not in key}  # fmt: skip
    size = next(leaf.shape[-1] for key, leaf in reversed(flat.items()) if "norm" in key
                or "bn2" in key)  # fmt: skip
    head = {"kernel": random.normal(size=(size, 4)).astype(np.float32), "bias": np.ones(4, "f4")}
    shown = {**variables, "params": {**variables["params"], "head": head}}
    tasks.task(
        tmp_path / "x.mask", path, shown, CLASSES, masks=bits, head=head, network=name,
        width=width, image_shape=[32, 32, 3], mean=[0.25], std=[0.5],
    )  # fmt: skip
    for out in (tmp_path / "out.safetensors", tmp_path / "out.pth"):
        assert masks.main(["export", str(tmp_path / "x.mask"), f"--out={out}"]) == 0
        found = loaded(out, make(4))
    capsys.readouterr()

    # the same by hand, in PyTorch's order
    under = pretrained.export({"params": traverse_util.unflatten_dict(bits, sep="/")}, name, layout)
    for key, leaf in found.items():
        if key.startswith(("fc.", "head.", "linear.")):
            np.testing.assert_array_equal(leaf, head["kernel" if leaf.ndim == 2 else "bias"].T)
        elif key in under:
            parts = np.split(under[key], 3) if "qkv" in key else [under[key]]
            expected = np.concatenate([part / np.sqrt(part.mean()) for part in parts])
            np.testing.assert_allclose(leaf, arrays[key] * expected, rtol=1e-6, err_msg=key)
        else:
            np.testing.assert_array_equal(leaf, arrays[key], err_msg=key)
    again, about = pretrained.load(tmp_path / "out.safetensors", name, width=width)
    assert (about["mean"], about["std"]) == ([0.25] * 3, [0.5] * 3)
    assert about["normalization"] == "file"
    own = tmp_path / "own.pth"
    given = ["export", str(tmp_path / "x.mask"), f"--out={own}", "--names=checkpoint"]
    assert masks.main(given) == 0
    assert "the checkpoint's names" in capsys.readouterr().out
    assert torch.load(own, weights_only=True).keys() == {prefix + key for key in found}
    assert about["classes"] == 4
    assert again["params"].keys() == shown["params"].keys()
