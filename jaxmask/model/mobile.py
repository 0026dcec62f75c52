"""MobileNetV2 and EfficientNet-Lite: chains of inverted residual blocks with depthwise kernels."""

import math
from functools import partial
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxmask.model import layers

STEM, LAST = 32, 1280  # channels before the blocks and after them
# `wider` and `deeper` of EfficientNet-Lite0 to Lite4
LITE = ((1.0, 1.0), (1.0, 1.1), (1.1, 1.2), (1.2, 1.4), (1.4, 1.8))


class Stage(NamedTuple):
    """`blocks` of one width, of which the first is strided."""

    blocks: int
    channels: int
    size: int
    stride: int
    expansion: int


Stages = tuple[Stage, ...]


class Numerics(NamedTuple):
    """In what the networks of PyTorch and TensorFlow differ."""

    padding: str | None  # of `layers.conv`
    epsilon: float  # of batch norms


PYTORCH, TENSORFLOW = Numerics(None, 1e-5), Numerics("SAME", 1e-3)

MOBILENET_V2 = (
    Stage(1, 16, 3, 1, 1),
    Stage(2, 24, 3, 2, 6),
    Stage(3, 32, 3, 2, 6),
    Stage(4, 64, 3, 2, 6),
    Stage(3, 96, 3, 1, 6),
    Stage(3, 160, 3, 2, 6),
    Stage(1, 320, 3, 1, 6),
)
_EFFICIENTNET = (
    Stage(1, 16, 3, 1, 1),
    Stage(2, 24, 3, 2, 6),
    Stage(2, 40, 5, 2, 6),
    Stage(3, 80, 3, 2, 6),
    Stage(3, 112, 5, 1, 6),
    Stage(4, 192, 5, 2, 6),
    Stage(1, 320, 3, 1, 6),
)


def efficientnet_lite(wider: float, deeper: float) -> Stages:
    """The stages of an EfficientNet-Lite: all are wider, all but the first and the last deeper."""
    ends = (0, len(_EFFICIENTNET) - 1)
    return tuple(
        stage._replace(
            channels=_eights(stage.channels * wider),
            blocks=stage.blocks if i in ends else math.ceil(stage.blocks * deeper),
        )
        for i, stage in enumerate(_EFFICIENTNET)
    )


def _eights(channels: float) -> int:
    """The nearest multiple of 8 that is not more than a tenth too small."""
    nearest = max(8, int(channels + 4) // 8 * 8)
    return nearest + 8 if nearest < 0.9 * channels else nearest


class InvertedResidual(nn.Module):
    """1x1 convolution to more channels, depthwise convolution, 1x1 convolution to fewer.

    Batch norms after all three, ReLU6 after the first two. Without an expansion there is no first
    one. The input is added unless the block is the first of its stage.
    """

    stage: Stage
    channels: int
    first: bool
    numerics: Numerics
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """[B, H, W, C] -> [B, ceil(H / stride), ceil(W / stride), channels]."""
        normed = partial(_normed, train, self.numerics, self.dtype)
        hidden = x.shape[-1] * self.stage.expansion
        stride = self.stage.stride if self.first else 1
        y = x
        if self.stage.expansion > 1:
            y = layers.relu6(normed("expand", y, hidden, 1))
        y = layers.relu6(normed("depthwise", y, hidden, self.stage.size, stride, groups=hidden))
        y = normed("project", y, self.channels, 1)
        return y if self.first else x + y


def _normed(
    train: bool,
    numerics: Numerics,
    dtype: DTypeLike,
    name: str,
    x: jax.Array,
    channels: int,
    size: int,
    stride: int = 1,
    groups: int = 1,
) -> jax.Array:
    """A convolution without a bias, and its batch norm."""
    # in a depthwise convolution each output has one input, and each input one output
    init = layers.fan_out if groups == 1 else layers.fan_in
    conv = layers.conv(
        channels, size, stride, name=f"{name}_conv", dtype=dtype, padding=numerics.padding,
        groups=groups, init=init,
    )  # fmt: skip
    norm = layers.norm(train, name=f"{name}_bn", dtype=dtype, epsilon=numerics.epsilon)
    return norm(conv(x))


class MobileNetV2(nn.Module):
    """Inverted residual blocks with depthwise 3x3 convolutions, ReLU6, numerics as in PyTorch.

    Padding is symmetric and batch norms have epsilon 1e-5, as in torchvision and TIMM. With 1,000
    classes it has 3,504,872 parameters. `width` scales all channels and does not round them to
    multiples of 8, as the paper's multiplier does.

    Reference: Sandler, Howard, Zhu, Zhmoginov, Chen, MobileNetV2: inverted residuals and linear
    bottlenecks, 2018, https://arxiv.org/abs/1801.04381.
    """

    classes: int
    width: float = 1.0
    dtype: DTypeLike = jnp.float32
    stages: Stages = MOBILENET_V2

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False, features: bool = False) -> jax.Array:
        """Images [B, H, W, C] -> logits [B, classes] or features [B, 1280 * width]."""
        x = _body(x, self.stages, self.width, train, PYTORCH, self.dtype)
        return layers.classify(x, self.classes, features)


class EfficientNetLite(nn.Module):
    """Inverted residual blocks, depthwise 3x3 and 5x5, ReLU6, numerics as in TensorFlow.

    An EfficientNet without squeeze-and-excitation, whose stem and head have the same channels in
    all sizes. `wider` multiplies the channels of the blocks, rounded to multiples of 8, `deeper`
    the blocks of each stage but the first and the last. Padding is TensorFlow's "SAME" (a strided
    convolution of an even image pads one pixel less above and on the left), batch norms have
    epsilon 1e-3. With 1,000 classes Lite0 has 4,652,008 parameters, Lite1 5,416,680, Lite2
    6,092,072, Lite3 8,197,096, Lite4 13,006,568; they were trained on images of 224, 240, 260, 280
    and 300 pixels.

    References: Tan, Le, EfficientNet: rethinking model scaling for convolutional neural networks,
    2019, https://arxiv.org/abs/1905.11946; for Lite, github.com/tensorflow/tpu, folder
    models/official/efficientnet/lite.
    """

    classes: int
    wider: float
    deeper: float
    width: float = 1.0
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False, features: bool = False) -> jax.Array:
        """Images [B, H, W, C] -> logits [B, classes] or features [B, 1280 * width]."""
        stages = efficientnet_lite(self.wider, self.deeper)
        x = _body(x, stages, self.width, train, TENSORFLOW, self.dtype)
        return layers.classify(x, self.classes, features)


def _body(
    x: jax.Array,
    stages: Stages,
    width: float,
    train: bool,
    numerics: Numerics,
    dtype: DTypeLike,
) -> jax.Array:
    """Images [B, H, W, C] -> features [B, 1280 * width]."""
    normed = partial(_normed, train, numerics, dtype)
    x = layers.images(x, dtype)
    x = layers.relu6(normed("stem", x, layers.scaled(STEM, width), 3, 2))
    for number, stage in enumerate(stages, 1):
        channels = layers.scaled(stage.channels, width)
        for i in range(stage.blocks):
            name = f"block{number}_{i}"
            x = InvertedResidual(stage, channels, i == 0, numerics, dtype, name=name)(x, train)
    x = layers.relu6(normed("last", x, layers.scaled(LAST, width), 1))
    return layers.average(x)
