"""PyTorch's files load, and logits are PyTorch's; exported weights give ours there."""

import argparse
import functools
import pickle

import jax
import numpy as np
import pytest

from jaxmask import model
from jaxmask.errors import InputError
from jaxmask.model import pretrained, transformer

torch = pytest.importorskip("torch")
nn = torch.nn
networks = pytest.importorskip("torch_networks")

pytestmark = pytest.mark.parity


def plain(state):
    return state


def lightning(state):
    return {"state_dict": {f"module.{key}": leaf for key, leaf in state.items()}, "epoch": 3}


def swav(state):
    heads = {"projection_head.0.weight": torch.ones(4, 8), "prototypes.weight": torch.ones(5, 4)}
    return lightning({**state, **heads})


def dino(state):
    teacher = {f"backbone.{key}": leaf for key, leaf in state.items()}
    teacher["head.last_layer.weight_g"] = torch.ones(6, 1)
    wrapped = {f"module.{key}": leaf for key, leaf in teacher.items()}
    student = {key: leaf + 1 for key, leaf in wrapped.items()}
    return {"student": student, "teacher": wrapped, "args": argparse.Namespace(arch="resnet50")}


CASES = {
    "torchvision": ("resnet18", functools.partial(networks.RESNET18, 5), lightning, "torchvision"),
    "swav": ("resnet50", functools.partial(networks.RESNET50, 0), swav, "swav"),
    "dino": ("resnet50", functools.partial(networks.RESNET50, 0), dino, "dino"),
    "vit": ("vit_ti16", functools.partial(networks.ViT, 24, 3, 16, 3, 5), plain, "timm"),
}


@functools.cache
def apply_of(name, features):
    """A ResNet-50 is faster when jitted; in the others all blocks are equal."""
    apply = functools.partial(model.create(name, classes=5, width=0.125).apply, features=features)
    return jax.jit(apply) if name == "resnet50" else apply


@pytest.mark.parametrize("case", CASES)
def test_logits_of_a_pth_file_and_of_what_is_exported(case, tmp_path):
    name, make, wrap, layout = CASES[case]
    network = networks.randomized(make())
    path = tmp_path / "checkpoint.pth"
    torch.save(wrap(network.state_dict()), path)
    variables, about = pretrained.load(path, name, width=0.125)
    assert about["layout"] == layout
    x = networks.images(about.get("size", 64))
    apply = apply_of(name, about["classes"] is None)
    expected = networks.theirs(network, x)
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(apply(variables, x), expected, rtol=1e-4, atol=1e-4)

    # half of the weights of every kernel are removed; PyTorch loads the rest
    rng = np.random.default_rng(2)
    masked = jax.tree.map(lambda leaf: leaf * (rng.random(leaf.shape) < 0.5 * leaf.ndim), variables)
    masked["batch_stats"] = variables["batch_stats"]
    state = pretrained.export(masked, name, layout)
    network.load_state_dict({key: torch.from_numpy(leaf) for key, leaf in state.items()})
    expected = networks.theirs(network, x)
    assert np.abs(expected - apply(variables, x)).max() > 1e-2
    np.testing.assert_allclose(apply(masked, x), expected, rtol=1e-4, atol=1e-4)


def test_saved_for_torch(tmp_path):
    rng = np.random.default_rng(0)
    state = {"conv1.weight": rng.random((4, 3, 2, 2), np.float32), "bn1.bias": np.zeros(4)}
    for name in ("a.pth", "a.pt"):
        pretrained.save(tmp_path / name, state)
        found = torch.load(tmp_path / name, weights_only=True)
        assert found.keys() == state.keys()
        assert all(np.array_equal(found[key].numpy(), state[key]) for key in state)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.pt", "a.pth"]


class Attack:
    def __reduce__(self):
        return print, ("run",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"w": torch.ones(2), "a": Attack()}, "is not a PyTorch file of weights only"),
        ([1, 2], "holds a list, not a state dict"),
        ({"epoch": 3, "optimizer": {}}, r"a dict of \['epoch', 'optimizer'\], not a state dict"),
        ({}, r"a dict of \[\], not a state dict"),
        ({"state_dict": {"w": 1}}, r"a dict of \['state_dict'\]"),
        (torch.ones(3), "a Tensor, not a state dict"),
        ({"w": torch.eye(2).to_sparse()}, "cannot read the tensor w in"),
        (b"no file of PyTorch's", "is no"),
        (b"", "is not a complete PyTorch file"),
    ],
)
def test_other_pth_files(content, message, tmp_path, capsys):
    path = tmp_path / "a.pth"
    path.write_bytes(content) if isinstance(content, bytes) else torch.save(content, path)
    with pytest.raises(InputError, match=message) as caught:
        pretrained.load(path, "resnet18")
    assert "\n" not in str(caught.value)
    assert "run" not in capsys.readouterr().out


def test_truncated_and_old_pth_files(tmp_path):
    path = tmp_path / "a.pth"
    torch.save({"w": torch.ones(100)}, path)
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(InputError, match="is not a complete PyTorch file"):
        pretrained.load(path, "resnet18")
    path.write_bytes(pickle.dumps({"w": Attack()}, protocol=2))
    with pytest.raises(InputError, match="is no"):
        pretrained.load(path, "resnet18")
    torch.save({"fc.bias": torch.ones(3)}, path, _use_new_zipfile_serialization=False)
    with pytest.raises(InputError, match=r"they lack bn1\.bias"):
        pretrained.load(path, "resnet18")


@pytest.mark.parametrize("size", [64, 128, 320])
def test_positions_are_resized_as_in_timm(size):
    positions = np.random.default_rng(0).normal(size=(50, 6)).astype(np.float32)
    grid = torch.from_numpy(positions[1:].reshape(1, 7, 7, 6)).permute(0, 3, 1, 2)
    expected = nn.functional.interpolate(
        grid, size=(size // 32,) * 2, mode="bicubic", antialias=True
    )
    got = transformer.resized(positions, size, 32)[1:]
    np.testing.assert_allclose(got, expected[0].flatten(1).T, atol=1e-5)
