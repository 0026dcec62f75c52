"""Networks by name: make one, initialise it, count it, and the rules for masking it."""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from numbers import Integral, Real
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxmask.errors import InputError, nearest
from jaxmask.model.cifar_resnet import CifarResNet
from jaxmask.model.conv import ConvNet
from jaxmask.model.lenet import LeNet5, LeNet300
from jaxmask.model.resnet import STEMS, BasicBlock, Bottleneck, ResNet
from jaxmask.model.vgg import VGG

Rules = tuple[tuple[str, str], ...]

# Biases and batch norms match neither rule and stay frozen.
_RULES: Rules = (("head/.*", "train"), (".*/kernel", "mask"))


class _Network(NamedTuple):
    """A line of the table: the module, what the name fixes, what the user may choose."""

    module: type[nn.Module]
    fixed: Mapping[str, Any] = {}
    options: Mapping[str, Sequence[Any]] = {}  # name -> the values it takes
    rules: Rules = _RULES


def _resnet(block: type[nn.Module], *counts: int) -> _Network:
    return _Network(ResNet, {"block": block, "counts": counts}, {"stem": STEMS})


_NETWORKS: dict[str, _Network] = {
    "lenet_300_100": _Network(LeNet300),
    "lenet5": _Network(LeNet5),
    "conv2": _Network(ConvNet, {"stages": 1}),
    "conv4": _Network(ConvNet, {"stages": 2}),
    "conv6": _Network(ConvNet, {"stages": 3}),
    "resnet20": _Network(CifarResNet, {"blocks": 3}),
    "resnet32": _Network(CifarResNet, {"blocks": 5}),
    "resnet44": _Network(CifarResNet, {"blocks": 7}),
    "resnet56": _Network(CifarResNet, {"blocks": 9}),
    "resnet110": _Network(CifarResNet, {"blocks": 18}),
    "vgg11": _Network(VGG, {"counts": (1, 1, 2, 2, 2)}),
    "vgg13": _Network(VGG, {"counts": (2, 2, 2, 2, 2)}),
    "vgg16": _Network(VGG, {"counts": (2, 2, 3, 3, 3)}),
    "vgg19": _Network(VGG, {"counts": (2, 2, 4, 4, 4)}),
    "resnet18": _resnet(BasicBlock, 2, 2, 2, 2),
    "resnet34": _resnet(BasicBlock, 3, 4, 6, 3),
    "resnet50": _resnet(Bottleneck, 3, 4, 6, 3),
}


def names() -> tuple[str, ...]:
    """The names that `create` takes."""
    return tuple(_NETWORKS)


def _find(name: str) -> _Network:
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
    [B, H, W, C] and gives logits [B, classes], or with `features=True` what comes before the
    head, [B, F]; both are float32 (float64 if `dtype` is). `train=True` uses the statistics of
    the batch and needs `mutable=["batch_stats"]`.

    Args:
        name: one of `names()`.
        classes: the number of logits.
        width: multiplies every number of channels and hidden units (rounded, at least 1).
        dtype: the dtype of activations, such as `jnp.bfloat16` on an accelerator. Parameters
            and batch statistics are float32 whatever it is.
        **options: for resnet18, 34 and 50: `stem="imagenet"` (the default) or `stem="cifar"`.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxmask import model
        >>> net = model.create("resnet20", classes=10, width=0.5)
        >>> variables = model.initialise(net, jax.random.key(0), (32, 32, 3))
        >>> net.apply(variables, jnp.zeros((4, 32, 32, 3))).shape
        (4, 10)
    """
    network = _find(name)
    for option, value in options.items():
        if option not in network.options:
            known = ("classes", "width", "dtype", *network.options)
            raise InputError(f"{name} has no option {option!r}{nearest(option, known)}")
        values = network.options[option]
        if value not in values:
            raise InputError(f"{name} has no {option} {value!r}{nearest(str(value), values)}")
    if not isinstance(classes, Integral) or classes < 1:
        raise InputError(f"classes is {classes!r} for {name}; give a whole number of at least 1")
    if not isinstance(width, Real) or not 0 < width < math.inf:
        raise InputError(f"width is {width!r} for {name}; give a positive number")
    try:
        dtype = jnp.dtype(dtype)
    except TypeError:
        raise InputError(f"there is no dtype {dtype!r}; give 'float32' or 'bfloat16'") from None
    if not jnp.issubdtype(dtype, jnp.floating):
        raise InputError(f"{name} cannot compute in {dtype}; give 'float32' or 'bfloat16'")
    return network.module(
        classes=int(classes), width=float(width), dtype=dtype, **network.fixed, **options
    )


def rules(name: str) -> Rules:
    """Path rules for `jaxmask.tree.label`: mask every kernel, train the head, freeze the rest.

    Returns:
        Pairs (regex, label). A regex is for the whole path joined with `/`, the first that
        matches wins, and what matches none (biases and batch norms) is frozen.
    """
    return _find(name).rules


@partial(jax.jit, static_argnums=(0, 2))
def _init(module: nn.Module, key: jax.Array, shape: tuple[int, ...]) -> Any:
    # Nothing of the forward pass reaches the result, so that XLA leaves it out of the program.
    return module.init(key, jnp.zeros((1, *shape)))


def initialise(
    module: nn.Module, key: jax.Array, image_shape: Sequence[int]
) -> dict[str, dict[str, Any]]:
    """Fresh float32 variables for images of shape (H, W, C).

    Kernels are Kaiming-normal, biases zero, batch norms the identity.

    Args:
        module: what `create` returned, or any Linen module whose fields are hashable.
        key: a random key.
        image_shape: (H, W, C).

    Returns:
        {"params": tree, "batch_stats": tree}, plain nested dicts; the second one is empty for a
        network without batch norm.
    """
    shape = tuple(image_shape)
    if len(shape) != 3 or min(shape) < 1:
        raise InputError(f"image_shape is {shape}; give (height, width, channels)")
    variables = _init(module, key, shape)
    return {"params": variables["params"], "batch_stats": variables.get("batch_stats", {})}


def count(tree: Any) -> int:
    """The number of array elements in a tree, such as its parameters (shapes suffice)."""
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))
