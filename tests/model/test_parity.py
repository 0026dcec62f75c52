"""The same weights give the same logits in PyTorch."""

import jax
import numpy as np
import pytest

from jaxmask import model

torch = pytest.importorskip("torch")
nn = torch.nn

pytestmark = pytest.mark.parity


def option_a(x, channels, stride):
    """Every `stride`-th pixel; new channels of zeros before and after the old ones."""
    extra = channels - x.shape[1]
    x = x[:, :, ::stride, ::stride]
    return nn.functional.pad(x, (0, 0, 0, 0, extra // 2, extra - extra // 2))


class Block(nn.Module):
    def __init__(self, inputs, channels, stride, projection):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.channels, self.stride = channels, stride
        if projection and (stride > 1 or inputs != channels):
            self.downsample_conv = nn.Conv2d(inputs, channels, 1, stride, bias=False)
            self.downsample_bn = nn.BatchNorm2d(channels)

    def forward(self, x):
        y = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
        if hasattr(self, "downsample_conv"):
            return (y + self.downsample_bn(self.downsample_conv(x))).relu()
        return (y + option_a(x, self.channels, self.stride)).relu()


class ResNet(nn.Module):
    """A residual network of basic blocks, its layers named as in jaxmask."""

    def __init__(self, channels, counts, imagenet):
        super().__init__()
        stem = channels[0]
        size, stride = (7, 2) if imagenet else (3, 1)
        self.conv1 = nn.Conv2d(3, stem, size, stride, padding=size // 2, bias=False)
        self.bn1 = nn.BatchNorm2d(stem)
        self.pool = nn.MaxPool2d(3, 2, padding=1) if imagenet else nn.Identity()
        self.blocks, inputs = [], stem
        for stage, (width, count) in enumerate(zip(channels, counts), 1):
            for i in range(count):
                stride = 2 if stage > 1 and i == 0 else 1
                self.blocks.append(f"layer{stage}_{i}")
                self.add_module(self.blocks[-1], Block(inputs, width, stride, imagenet))
                inputs = width
        self.head = nn.Linear(inputs, 5)

    def forward(self, x):
        x = self.pool(self.bn1(self.conv1(x)).relu())
        for name in self.blocks:
            x = getattr(self, name)(x)
        return self.head(x.mean((2, 3)))


class VGG(nn.Module):
    """VGG with batch norm, its layers named as in jaxmask."""

    def __init__(self, channels, counts):
        super().__init__()
        self.stages, inputs = [], 3
        for stage, (width, count) in enumerate(zip(channels, counts), 1):
            self.stages.append([f"{stage}_{i}" for i in range(1, count + 1)])
            for name in self.stages[-1]:
                self.add_module(f"conv{name}", nn.Conv2d(inputs, width, 3, padding=1))
                self.add_module(f"bn{name}", nn.BatchNorm2d(width))
                inputs = width
        self.head = nn.Linear(inputs, 5)

    def forward(self, x):
        for i, names in enumerate(self.stages):
            x = x if i == 0 else nn.functional.max_pool2d(x, 2)
            for name in names:
                x = getattr(self, f"bn{name}")(getattr(self, f"conv{name}")(x)).relu()
        return self.head(x.mean((2, 3)))


def to_torch(variables):
    """PyTorch's state dict: other leaf names, and kernels with the outputs in front."""
    names = {"kernel": "weight", "scale": "weight", "mean": "running_mean", "var": "running_var"}
    state = {}
    for collection in ("params", "batch_stats"):
        for path, leaf in jax.tree_util.tree_leaves_with_path(variables[collection]):
            *module, kind = (key.key for key in path)
            order = (3, 2, 0, 1) if leaf.ndim == 4 else range(leaf.ndim)[::-1]
            tensor = torch.tensor(np.transpose(leaf, order).copy())
            state[".".join([*module, names.get(kind, kind)])] = tensor
    return state


@pytest.mark.parametrize(
    ("name", "theirs", "size"),
    [
        ("resnet20", lambda: ResNet((4, 8, 16), (3, 3, 3), False), (20, 28)),
        ("resnet18", lambda: ResNet((16, 32, 64, 128), (2, 2, 2, 2), True), (64, 76)),
        ("vgg11", lambda: VGG((16, 32, 64, 128, 128), (1, 1, 2, 2, 2)), (32, 42)),
    ],
)
def test_logits_equal_torch(name, theirs, size, random_variables):
    ours = model.create(name, classes=5, width=0.25)
    variables = random_variables(ours, (*size, 3))
    x = np.random.default_rng(1).normal(size=(3, *size, 3)).astype(np.float32)
    network = theirs().eval()
    missing, unexpected = network.load_state_dict(to_torch(variables), strict=False)
    assert not unexpected
    assert all(key.endswith("num_batches_tracked") for key in missing)
    with torch.no_grad():
        expected = network(torch.tensor(x.transpose(0, 3, 1, 2).copy())).numpy()
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(ours.apply(variables, x), expected, rtol=1e-4, atol=1e-4)
