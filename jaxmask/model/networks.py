"""The table of networks: their modules, stages, options, and rules for masking them."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from numbers import Integral
from typing import Any, NamedTuple

import flax.linen as nn

from jaxmask.errors import InputError
from jaxmask.model import attention
from jaxmask.model.bert import POOLINGS, Bert
from jaxmask.model.cifar_resnet import CifarResNet
from jaxmask.model.clip import ImageTower
from jaxmask.model.conv import ConvNet
from jaxmask.model.lenet import LeNet5, LeNet300
from jaxmask.model.mobile import LITE, EfficientNetLite, MobileNetV2
from jaxmask.model.resnet import STEMS, BasicBlock, Bottleneck, ResNet
from jaxmask.model.vgg import VGG
from jaxmask.model.vit import ViT

Rules = tuple[tuple[str, str], ...]
MOST_WORDS = 10**7

# Biases and norms match neither rule and stay frozen.
RULES: Rules = (("head/.*", "train"), (".*/kernel", "mask"))
# For transformers, the dense layers of the blocks, but not the patches or CLIP's projection.
_BLOCK_KERNELS: Rules = (
    ("head/.*", "train"),
    (r"block\d+/(query|key|value|out|fc1|fc2)/kernel", "mask"),
)
_BLOCK_LAYERS: Rules = (
    ("head/.*", "train"),
    (r"block\d+/(query|key|value|out|fc1|fc2)/(kernel|bias)", "mask"),
)


class Network(NamedTuple):
    """A row of the table: the module, its stages, fixed arguments, options for the user."""

    module: type[nn.Module]
    stages: tuple[str, ...]
    fixed: Mapping[str, Any] = {}
    # name -> the allowed values, or a function that raises InputError for any other
    options: Mapping[str, Sequence[Any] | Callable[[Any], Any]] = {}
    rules: Rules = RULES


def _conv(stages: int) -> Network:
    convolutions = (rf"conv({2 * i - 1}|{2 * i})/.*" for i in range(1, stages + 1))
    return Network(ConvNet, (*convolutions, "fc1/.*", "fc2/.*"), {"stages": stages})


def _vgg(*counts: int) -> Network:
    stages = tuple(rf"(conv|bn){stage}_\d+/.*" for stage in range(1, 6))
    return Network(VGG, stages, {"counts": counts})


def _residual(stages: int) -> tuple[str, ...]:
    later = (rf"layer{stage}_\d+/.*" for stage in range(2, stages + 1))
    return (r"(conv1|bn1|layer1_\d+)/.*", *later)


def _cifar_resnet(blocks: int) -> Network:
    return Network(CifarResNet, _residual(3), {"blocks": blocks})


def _resnet(block: type[nn.Module], *counts: int) -> Network:
    return Network(ResNet, _residual(4), {"block": block, "counts": counts}, {"stem": STEMS})


def _mobile(module: type[nn.Module], **fixed: Any) -> Network:
    between = (rf"block{stage}_\d+/.*" for stage in range(2, 7))
    stages = (r"(stem_conv|stem_bn|block1_\d+)/.*", *between, r"(block7_\d+|last_conv|last_bn)/.*")
    return Network(module, stages, fixed)


def _transformer(
    module: type[nn.Module], rules: Rules, *, patch: int, blocks: int, heads: int
) -> Network:
    between = (rf"block{i}/.*" for i in range(1, blocks - 1))
    stages = (
        "(patch|pre_norm|block0)/.*|class_token|position",
        *between,
        f"(block{blocks - 1}|norm|projection)/.*",
    )
    fixed = {"patch": patch, "blocks": blocks, "heads": heads}
    return Network(module, stages, fixed, rules=rules)


def _check_separator(value: Any) -> None:
    whole = isinstance(value, Integral) and not isinstance(value, bool)
    if value is not None and not (whole and 0 <= value < MOST_WORDS):
        raise InputError(
            f"separator is {value!r}; give None or a whole number from 0 to {MOST_WORDS - 1}"
        )


_TEXT_OPTIONS: Mapping[str, Sequence[Any] | Callable[[Any], Any]] = {
    "vocabulary": range(1, MOST_WORDS),
    "context": range(1, MOST_WORDS),
    "types": range(MOST_WORDS),
    "padding": range(MOST_WORDS),
    "separator": _check_separator,
    "pool": POOLINGS,
    "mlm": (False, True),
    "attention": attention.named,
}


def _bert(*, blocks: int, heads: int, **fixed: Any) -> Network:
    between = (rf"block{i}/.*" for i in range(1, blocks - 1))
    stages = ("(embeddings|block0)/.*", *between, f"(block{blocks - 1}|pooler)/.*")
    fixed = {"blocks": blocks, "heads": heads, **fixed}
    return Network(Bert, stages, fixed, _TEXT_OPTIONS, _BLOCK_KERNELS)


_vit = partial(_transformer, ViT, _BLOCK_KERNELS)

NETWORKS: dict[str, Network] = {
    "lenet_300_100": Network(LeNet300, ("fc1/.*", "fc2/.*")),
    "lenet5": Network(LeNet5, ("conv1/.*", "conv2/.*", "fc1/.*")),
    "conv2": _conv(1),
    "conv4": _conv(2),
    "conv6": _conv(3),
    "resnet20": _cifar_resnet(3),
    "resnet32": _cifar_resnet(5),
    "resnet44": _cifar_resnet(7),
    "resnet56": _cifar_resnet(9),
    "resnet110": _cifar_resnet(18),
    "vgg11": _vgg(1, 1, 2, 2, 2),
    "vgg13": _vgg(2, 2, 2, 2, 2),
    "vgg16": _vgg(2, 2, 3, 3, 3),
    "vgg19": _vgg(2, 2, 4, 4, 4),
    "resnet18": _resnet(BasicBlock, 2, 2, 2, 2),
    "resnet34": _resnet(BasicBlock, 3, 4, 6, 3),
    "resnet50": _resnet(Bottleneck, 3, 4, 6, 3),
    "mobilenetv2": _mobile(MobileNetV2),
    **{
        f"efficientnet_lite{i}": _mobile(EfficientNetLite, wider=wider, deeper=deeper)
        for i, (wider, deeper) in enumerate(LITE)
    },
    "vit_ti16": _vit(patch=16, blocks=12, heads=3),
    "vit_s16": _vit(patch=16, blocks=12, heads=6),
    "vit_s32": _vit(patch=32, blocks=12, heads=6),
    "vit_b16": _vit(patch=16, blocks=12, heads=12),
    "vit_b32": _vit(patch=32, blocks=12, heads=12),
    "vit_l16": _vit(patch=16, blocks=24, heads=16),
    "bert_tiny": _bert(blocks=2, heads=2),
    "bert_mini": _bert(blocks=4, heads=4),
    "bert_small": _bert(blocks=4, heads=8),
    "bert_base": _bert(blocks=12, heads=12),
    "minilm_l6": _bert(blocks=6, heads=12, head_size=32),
    "distilbert": _bert(blocks=6, heads=12, types=0, pooler="relu"),
    "clip_vit_b32": _transformer(ImageTower, _BLOCK_LAYERS, patch=32, blocks=12, heads=12),
}
