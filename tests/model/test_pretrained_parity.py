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

pytestmark = pytest.mark.parity


def bn_conv(inputs, outputs, size, stride=1):
    conv = nn.Conv2d(inputs, outputs, size, stride, padding=size // 2, bias=False)
    return conv, nn.BatchNorm2d(outputs)


class Residual(nn.Module):
    """A basic block (two sizes) or a bottleneck (three), named as in torchvision."""

    def __init__(self, inputs, channels, stride, sizes):
        super().__init__()
        outputs = channels * (4 if len(sizes) == 3 else 1)
        widths = [inputs, *[channels] * (len(sizes) - 1), outputs]
        strided = len(sizes) - 2  # the first 3x3
        for i, size in enumerate(sizes):
            conv, bn = bn_conv(widths[i], widths[i + 1], size, stride if i == strided else 1)
            self.add_module(f"conv{i + 1}", conv)
            self.add_module(f"bn{i + 1}", bn)
        self.layers = len(sizes)
        if stride > 1 or inputs != outputs:
            self.downsample = nn.Sequential(*bn_conv(inputs, outputs, 1, stride))

    def forward(self, x):
        y = x
        for i in range(1, self.layers + 1):
            y = getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(y))
            y = y.relu() if i < self.layers else y
        return (y + (self.downsample(x) if hasattr(self, "downsample") else x)).relu()


class ResNet(nn.Module):
    """A residual network for ImageNet, named as in torchvision and TIMM."""

    def __init__(self, width, counts, sizes, classes):
        super().__init__()
        self.conv1 = nn.Conv2d(3, round(64 * width), 7, 2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(round(64 * width))
        inputs = round(64 * width)
        for stage, count in enumerate(counts, 1):
            channels = round(64 * 2 ** (stage - 1) * width)
            blocks = []
            for i in range(count):
                stride = 2 if stage > 1 and i == 0 else 1
                blocks.append(Residual(inputs, channels, stride, sizes))
                inputs = channels * (4 if len(sizes) == 3 else 1)
            self.add_module(f"layer{stage}", nn.Sequential(*blocks))
        self.fc = nn.Linear(inputs, classes) if classes else nn.Identity()

    def forward(self, x):
        x = nn.functional.max_pool2d(self.bn1(self.conv1(x)).relu(), 3, 2, padding=1)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(x.mean((2, 3)))


class Attention(nn.Module):
    def __init__(self, size, heads):
        super().__init__()
        self.qkv, self.proj, self.heads = nn.Linear(size, 3 * size), nn.Linear(size, size), heads

    def forward(self, x):
        batch, count, size = x.shape
        q, k, v = (
            part.reshape(batch, count, self.heads, -1).transpose(1, 2)
            for part in self.qkv(x).split(size, dim=-1)
        )
        share = (q @ k.transpose(2, 3) / q.shape[-1] ** 0.5).softmax(-1)
        return self.proj((share @ v).transpose(1, 2).reshape(batch, count, size))


class Mlp(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(size, 4 * size), nn.Linear(4 * size, size)

    def forward(self, x):
        return self.fc2(nn.functional.gelu(self.fc1(x)))


class Block(nn.Module):
    def __init__(self, size, heads):
        super().__init__()
        self.norm1, self.attn = nn.LayerNorm(size, eps=1e-6), Attention(size, heads)
        self.norm2, self.mlp = nn.LayerNorm(size, eps=1e-6), Mlp(size)

    def forward(self, x):
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class ViT(nn.Module):
    """A vision transformer, named as in TIMM."""

    def __init__(self, size, heads, patch, grid, classes):
        super().__init__()
        self.patch_embed = nn.Module()
        self.patch_embed.proj = nn.Conv2d(3, size, patch, patch)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, size))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + grid**2, size))
        self.blocks = nn.Sequential(*[Block(size, heads) for _ in range(12)])
        self.norm, self.head = nn.LayerNorm(size, eps=1e-6), nn.Linear(size, classes)

    def forward(self, x):
        x = self.patch_embed.proj(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], 1) + self.pos_embed
        return self.head(self.norm(self.blocks(x))[:, 0])


def randomized(network, seed=0):
    """Random weights and statistics everywhere, as large as in a trained network."""
    torch.manual_seed(seed)
    for name, tensor in network.state_dict().items():
        if tensor.is_floating_point():
            if tensor.ndim >= 2 and "embed" not in name.replace("patch_embed", ""):
                tensor.normal_(0, (2 / tensor[0].numel()) ** 0.5)
            elif name.endswith(("running_var", "weight")):
                tensor.uniform_(0.5, 1.5)
            else:
                tensor.normal_(0, 0.1)
    return network.eval()


def images(size):
    return np.random.default_rng(1).normal(size=(3, size, size, 3)).astype(np.float32)


def theirs(network, x):
    with torch.no_grad():
        return network(torch.from_numpy(x.transpose(0, 3, 1, 2).copy())).numpy()


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


RESNET18 = functools.partial(ResNet, 0.125, (2, 2, 2, 2), (3, 3))
RESNET50 = functools.partial(ResNet, 0.125, (3, 4, 6, 3), (1, 3, 1))
CASES = {
    "torchvision": ("resnet18", functools.partial(RESNET18, 5), lightning, "torchvision"),
    "swav": ("resnet50", functools.partial(RESNET50, 0), swav, "swav"),
    "dino": ("resnet50", functools.partial(RESNET50, 0), dino, "dino"),
    "vit": ("vit_ti16", functools.partial(ViT, 24, 3, 16, 3, 5), plain, "timm"),
}


@functools.cache
def apply_of(name, features):
    """A ResNet-50 is faster when jitted; in the others all blocks are equal."""
    apply = functools.partial(model.create(name, classes=5, width=0.125).apply, features=features)
    return jax.jit(apply) if name == "resnet50" else apply


@pytest.mark.parametrize("case", CASES)
def test_logits_of_a_pth_file_and_of_what_is_exported(case, tmp_path):
    name, make, wrap, layout = CASES[case]
    network = randomized(make())
    path = tmp_path / "checkpoint.pth"
    torch.save(wrap(network.state_dict()), path)
    variables, about = pretrained.load(path, name, width=0.125)
    assert about["layout"] == layout
    x = images(about.get("size", 64))
    apply = apply_of(name, about["classes"] is None)
    expected = theirs(network, x)
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(apply(variables, x), expected, rtol=1e-4, atol=1e-4)

    # half of the weights of every kernel are removed; PyTorch loads the rest
    rng = np.random.default_rng(2)
    masked = jax.tree.map(lambda leaf: leaf * (rng.random(leaf.shape) < 0.5 * leaf.ndim), variables)
    masked["batch_stats"] = variables["batch_stats"]
    state = pretrained.export(masked, name, layout)
    network.load_state_dict({key: torch.from_numpy(leaf) for key, leaf in state.items()})
    expected = theirs(network, x)
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
