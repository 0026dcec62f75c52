"""Networks by name: create, initialize and count them, and rules for masking them."""

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from numbers import Integral, Real
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxmask.errors import InputError, nearest
from jaxmask.model import attention, outside
from jaxmask.model.apply import mode
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
WIDEST = 1000
MOST_CLASSES = MOST_WORDS = 10**7

# Biases and norms match neither rule and stay frozen.
_RULES: Rules = (("head/.*", "train"), (".*/kernel", "mask"))
# For transformers, the dense layers of the blocks, but not the patches or CLIP's projection.
_BLOCK_KERNELS: Rules = (
    ("head/.*", "train"),
    (r"block\d+/(query|key|value|out|fc1|fc2)/kernel", "mask"),
)
_BLOCK_LAYERS: Rules = (
    ("head/.*", "train"),
    (r"block\d+/(query|key|value|out|fc1|fc2)/(kernel|bias)", "mask"),
)


class _Network(NamedTuple):
    """A row of the table: the module, its stages, fixed arguments, options for the user."""

    module: type[nn.Module]
    stages: tuple[str, ...]
    fixed: Mapping[str, Any] = {}
    # name -> the allowed values, or a function that raises InputError for any other
    options: Mapping[str, Sequence[Any] | Callable[[Any], Any]] = {}
    rules: Rules = _RULES


def _conv(stages: int) -> _Network:
    convolutions = (rf"conv({2 * i - 1}|{2 * i})/.*" for i in range(1, stages + 1))
    return _Network(ConvNet, (*convolutions, "fc1/.*", "fc2/.*"), {"stages": stages})


def _vgg(*counts: int) -> _Network:
    stages = tuple(rf"(conv|bn){stage}_\d+/.*" for stage in range(1, 6))
    return _Network(VGG, stages, {"counts": counts})


def _residual(stages: int) -> tuple[str, ...]:
    later = (rf"layer{stage}_\d+/.*" for stage in range(2, stages + 1))
    return (r"(conv1|bn1|layer1_\d+)/.*", *later)


def _cifar_resnet(blocks: int) -> _Network:
    return _Network(CifarResNet, _residual(3), {"blocks": blocks})


def _resnet(block: type[nn.Module], *counts: int) -> _Network:
    return _Network(ResNet, _residual(4), {"block": block, "counts": counts}, {"stem": STEMS})


def _mobile(module: type[nn.Module], **fixed: Any) -> _Network:
    between = (rf"block{stage}_\d+/.*" for stage in range(2, 7))
    stages = (r"(stem_conv|stem_bn|block1_\d+)/.*", *between, r"(block7_\d+|last_conv|last_bn)/.*")
    return _Network(module, stages, fixed)


def _transformer(
    module: type[nn.Module], rules: Rules, *, patch: int, blocks: int, heads: int
) -> _Network:
    between = (rf"block{i}/.*" for i in range(1, blocks - 1))
    stages = (
        "(patch|pre_norm|block0)/.*|class_token|position",
        *between,
        f"(block{blocks - 1}|norm|projection)/.*",
    )
    fixed = {"patch": patch, "blocks": blocks, "heads": heads}
    return _Network(module, stages, fixed, rules=rules)


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


def _bert(*, blocks: int, heads: int, **fixed: Any) -> _Network:
    between = (rf"block{i}/.*" for i in range(1, blocks - 1))
    stages = ("(embeddings|block0)/.*", *between, f"(block{blocks - 1}|pooler)/.*")
    fixed = {"blocks": blocks, "heads": heads, **fixed}
    return _Network(Bert, stages, fixed, _TEXT_OPTIONS, _BLOCK_KERNELS)


_vit = partial(_transformer, ViT, _BLOCK_KERNELS)

_NETWORKS: dict[str, _Network] = {
    "lenet_300_100": _Network(LeNet300, ("fc1/.*", "fc2/.*")),
    "lenet5": _Network(LeNet5, ("conv1/.*", "conv2/.*", "fc1/.*")),
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


def names() -> tuple[str, ...]:
    """The names that `create` takes."""
    return tuple(_NETWORKS)


def about(name: str) -> str:
    """The network in a line: the first of its docstring, and what is particular to this one."""
    found = _find(name)
    numbers = [
        f"{key} {value}" for key, value in found.fixed.items() if not isinstance(value, type)
    ]
    line = (inspect.getdoc(found.module) or "").partition("\n")[0]
    return line + (f" Here: {', '.join(numbers)}." if numbers else "")


def reads_texts(name: str) -> bool:
    """Whether the network called `name` takes token ids [B, L], not images; False for a user's."""
    return _find(name).module is Bert


def _find(name: str) -> _Network:
    if not isinstance(name, str):
        raise InputError(f"the name of a network is {name!r}; give a text")
    if outside.is_outside(name):
        return _Network(nn.Module, ())  # the defaults for a user's own network
    if name not in _NETWORKS:
        raise InputError(f"there is no network {name!r}{nearest(str(name), _NETWORKS)}")
    return _NETWORKS[name]


def create(
    name: str,
    *,
    classes: int,
    width: float = 1.0,
    dtype: DTypeLike = jnp.float32,
    **options: Any,
) -> nn.Module:
    """The network called `name`, as a Flax Linen module without weights.

    `module.apply(variables, x, train=False, features=False)` takes floating point images
    [B, H, W, C] and returns logits [B, classes], or with `features=True` the input of the head,
    [B, F]; both are float32 (float64 if `dtype` is). `train=True` uses the statistics of the batch
    and needs `mutable=["batch_stats"]`. A network of texts takes token ids int [B, L] in place of
    images, padded with zeros or with an attention mask: see `model.bert.Bert`.

    Args:
        name: one of `names()`, or `package.module:Class` for your own Linen module, see
            `model.outside.create`.
        classes: the number of logits.
        width: multiplies all numbers of channels and hidden units (rounded, at least 1); for
            transformers, the 64 units of each attention head, and so all others. (The multiplier
            of the papers on MobileNets also rounds them to multiples of 8.)
        dtype: the dtype of activations, such as `jnp.bfloat16` on an accelerator. Parameters
            and batch statistics are always float32.
        **options: for resnet18, 34 and 50: `stem="imagenet"` (the default) or `stem="cifar"`.
            For networks of texts: `vocabulary`, `context`, `types`, `padding`, `separator`, `pool`,
            `mlm` and `attention`, see `model.bert.Bert`.

    Vision transformers take images whose height and width are multiples of the patch size.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxmask import model
        >>> net = model.create("resnet20", classes=10, width=0.5)
        >>> variables = model.initialize(net, jax.random.key(0), (32, 32, 3))
        >>> net.apply(variables, jnp.zeros((4, 32, 32, 3))).shape
        (4, 10)
    """
    network = _find(name)
    own = outside.is_outside(name)
    for option, value in options.items():
        if own:
            continue
        if option not in network.options:
            known = ("classes", "width", "dtype", *network.options)
            raise InputError(f"{name} has no option {option!r}{nearest(option, known)}")
        _check_option(name, option, value, network.options[option])
    if not isinstance(classes, Integral) or not 1 <= classes <= MOST_CLASSES:
        raise InputError(
            f"classes is {classes!r} for {name}; give a whole number from 1 to {MOST_CLASSES}"
        )
    if not isinstance(width, Real) or not 0 < width <= WIDEST:
        raise InputError(f"width is {width!r} for {name}; give a number above 0, at most {WIDEST}")
    try:
        dtype = jnp.dtype(dtype)
    except TypeError:
        raise InputError(f"there is no dtype {dtype!r}; give 'float32' or 'bfloat16'") from None
    if not jnp.issubdtype(dtype, jnp.floating):
        raise InputError(f"{name} cannot compute in {dtype}; give 'float32' or 'bfloat16'")
    if own:
        return outside.create(name, int(classes), float(width), dtype, options)
    return network.module(
        classes=int(classes), width=float(width), dtype=dtype, **{**network.fixed, **options}
    )


def _check_option(name: str, option: str, value: Any, values: Any) -> None:
    if callable(values):
        values(value)
    elif isinstance(values, range):
        if isinstance(value, bool) or not isinstance(value, Integral) or value not in values:
            raise InputError(
                f"{name} has {option} {value!r}; give a whole number from {values[0]} to "
                f"{values[-1]}"
            )
    elif value not in values:
        raise InputError(f"{name} has no {option} {value!r}{nearest(str(value), map(str, values))}")


def rules(name: str) -> Rules:
    """Path rules for `jaxmask.tree.label`: mask the kernels, train the head, freeze the rest.

    For transformers, the kernels of the blocks are masked (queries, keys, values, output, both MLP
    layers), for CLIP also their biases; for all other networks, every kernel.

    Returns:
        Pairs (regex, label). A regex must match the whole path joined with `/`; the first match
        wins, and leaves without a match (such as biases and norms) are frozen.

    Example:
        >>> from jaxmask import model
        >>> model.rules("lenet5")
        (('head/.*', 'train'), ('.*/kernel', 'mask'))
    """
    return _find(name).rules


def stages(name: str) -> tuple[str, ...]:
    """The stages of a network, first to last.

    Returns:
        Regexes of whole parameter paths (without the leading `params/`), one per stage: parameters
        before the first block belong to the first stage, the head to none, and every other
        parameter to exactly one.

    Example:
        >>> from jaxmask import model
        >>> model.stages("lenet5")
        ('conv1/.*', 'conv2/.*', 'fc1/.*')
    """
    return _find(name).stages


@partial(jax.jit, static_argnums=(0, 2))
def _init(module: nn.Module, key: jax.Array, shape: tuple[int, ...]) -> Any:
    # The result does not depend on the forward pass, so XLA removes it.
    return module.init(key, zeros(shape, 1), **mode(module, False))


def zeros(shape: Sequence[int], count: int) -> jax.Array:
    """An input of `count` examples: images of shape (H, W, C), or token ids of shape (L,)."""
    return jnp.zeros((count, *shape), jnp.int32 if len(shape) == 1 else jnp.float32)


def initialize(
    module: nn.Module, key: jax.Array, image_shape: Sequence[int]
) -> dict[str, dict[str, Any]]:
    """Newly initialized float32 variables for images of shape (H, W, C), or texts of (L,) tokens.

    Kernels are Kaiming-normal, depthwise ones by their window (those of attention blocks
    Glorot-uniform, as in the ViT paper's code; embeddings normal, of deviation 0.02), biases zero,
    norms the identity.

    Args:
        module: what `create` returned, or any Linen module whose fields are hashable.
        key: a random key.
        image_shape: (H, W, C); or (L,) for a network of token ids, whose weights do not depend
            on L.

    Returns:
        {"params": tree, "batch_stats": tree}, plain nested dicts; the second is empty for a
        network without batch norm.
    """
    shape = tuple(image_shape)
    if len(shape) not in (1, 3) or min(shape) < 1:
        raise InputError(
            f"image_shape is {shape}; give (height, width, channels), or (length,) for token ids"
        )
    variables = nn.unbox(_init(module, key, shape))
    return {"params": variables["params"], "batch_stats": variables.get("batch_stats", {})}


def count(tree: Any) -> int:
    """The number of array elements in a tree, such as its parameters (shapes suffice).

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxmask import model
        >>> net = model.create("lenet_300_100", classes=10)
        >>> shapes = jax.eval_shape(lambda: model.initialize(net, jax.random.key(0), (28, 28, 1)))
        >>> model.count(shapes)
        266610
    """
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))
