"""Small PyTorch networks named as in torchvision and TIMM; import after importorskip("torch")."""

import functools
import math

import numpy as np
import torch
from torch import nn


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
        self.norm = nn.LayerNorm(size, eps=1e-6)
        self.head = nn.Linear(size, classes) if classes else nn.Identity()

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


RESNET18 = functools.partial(ResNet, 0.125, (2, 2, 2, 2), (3, 3))
RESNET50 = functools.partial(ResNet, 0.125, (3, 4, 6, 3), (1, 3, 1))


class CifarResNet(nn.Module):
    """The arrays of He et al.'s ResNet-20 for CIFAR, without a forward pass."""

    def __init__(self, width, classes, head="linear"):
        super().__init__()
        self.conv1, self.bn1 = bn_conv(3, round(16 * width), 3)
        inputs = round(16 * width)
        for stage in (1, 2, 3):
            channels = round(16 * 2 ** (stage - 1) * width)
            blocks = []
            for _ in range(3):
                block = Residual(channels, channels, 1, (3, 3))
                block.conv1 = nn.Conv2d(inputs, channels, 3, padding=1, bias=False)
                blocks.append(block)
                inputs = channels
            self.add_module(f"layer{stage}", nn.Sequential(*blocks))
        if classes:
            self.add_module(head, nn.Linear(inputs, classes))


class Same(nn.Conv2d):
    """A convolution with TensorFlow's padding: the odd pixel goes below and on the right."""

    def forward(self, x):
        pads = []
        for side, size, step in zip(x.shape[:1:-1], self.kernel_size, self.stride, strict=True):
            more = max((math.ceil(side / step) - 1) * step + size - side, 0)
            pads += [more // 2, more - more // 2]
        return super().forward(nn.functional.pad(x, pads))


def _names(style, number, place, parts):
    """The names of a block's convolutions and batch norms, and of its ReLU6 none."""
    stage, i = place
    if style == "torchvision":
        prefix, last = f"features.{number + 1}.conv.", parts - 1
        pairs = [(f"{j}.0", f"{j}.1") for j in range(last)] + [(f"{last}", f"{parts}")]
    elif style == "timm":
        prefix = f"blocks.{stage}.{i}.conv_"
        names = {2: ("dw", "pw"), 3: ("pw", "dw", "pwl")}[parts]
        return [(prefix + name, prefix[:-5] + f"bn{j}") for j, name in enumerate(names, 1)]
    else:
        prefix = f"_blocks.{number}._"
        pairs = [("expand_conv", "bn0"), ("depthwise_conv", "bn1"), ("project_conv", "bn2")]
    return [(prefix + conv, prefix + norm) for conv, norm in pairs[-parts:]]


ENDS = {
    "torchvision": ("features.0.0", "features.0.1", "features.{}.0", "features.{}.1",
                    "classifier.1"),
    "timm": ("conv_stem", "bn1", "conv_head", "bn2", "classifier"),
    "lite": ("_conv_stem", "_bn0", "_conv_head", "_bn1", "_fc"),
}  # fmt: skip


class Mobile(nn.Module):
    """Inverted residual blocks, named as in torchvision, TIMM or efficientnet_lite_pytorch.

    Stages are (count, channels, size, stride, expansion).
    """

    def __init__(self, stages, style, classes, same, width):
        super().__init__()
        self.same, self.blocks_of = same, []
        scaled = [max(1, round(channels * width)) for _, channels, *_ in stages]
        inputs = max(1, round(32 * width))
        names = [name.format(sum(stage[0] for stage in stages) + 1) for name in ENDS[style]]
        self.ends = [self.pair(*names[:2], 3, inputs, 3, 2)]
        number = 0
        for stage, (count, _, size, stride, expansion) in enumerate(stages):
            for i in range(count):
                hidden, parts = inputs * expansion, 3 if expansion > 1 else 2
                shapes = [(inputs, hidden, 1, 1, 1), (hidden, hidden, size, stride, hidden),
                          (hidden, scaled[stage], 1, 1, 1)]  # fmt: skip
                if i:
                    shapes[1] = (hidden, hidden, size, 1, hidden)
                block = [self.pair(*two, *shape) for two, shape in zip(
                    _names(style, number, (stage, i), parts), shapes[-parts:], strict=True
                )]  # fmt: skip
                self.blocks_of.append((block, i > 0))
                inputs, number = scaled[stage], number + 1
        last = max(1, round(1280 * width))
        self.ends.append(self.pair(*names[2:4], inputs, last, 1))
        self.put(names[4], nn.Linear(last, classes))
        self.head = [self.get_submodule(names[4])]

    def put(self, name, module):
        place = self
        *folders, leaf = name.split(".")
        for folder in folders:
            if folder not in dict(place.named_children()):
                place.add_module(folder, nn.Module())
            place = place.get_submodule(folder)
        place.add_module(leaf, module)

    def pair(self, conv_name, norm_name, inputs, outputs, size, stride=1, groups=1):
        kind = Same if self.same else nn.Conv2d
        padding = 0 if self.same else (size - 1) // 2
        conv = kind(inputs, outputs, size, stride, padding, groups=groups, bias=False)
        norm = nn.BatchNorm2d(outputs, eps=1e-3 if self.same else 1e-5)
        self.put(conv_name, conv)
        self.put(norm_name, norm)
        return (conv, norm)

    def forward(self, x):
        def relu6(pair, x):
            return nn.functional.relu6(pair[1](pair[0](x)))

        x = relu6(self.ends[0], x)
        for block, skip in self.blocks_of:
            y = x
            for pair in block[:-1]:
                y = relu6(pair, y)
            conv, norm = block[-1]
            y = norm(conv(y))
            x = x + y if skip else y
        return self.head[0](relu6(self.ends[1], x).mean((2, 3)))
