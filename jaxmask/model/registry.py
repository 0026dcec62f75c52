"""Networks by name: create, initialize and count them, and rules for masking them."""

import inspect
import math
from collections.abc import Sequence
from functools import partial
from numbers import Integral, Real
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxmask.errors import InputError, nearest
from jaxmask.model import outside
from jaxmask.model.apply import mode
from jaxmask.model.bert import Bert
from jaxmask.model.networks import NETWORKS, Network, Rules

WIDEST = 1000
MOST_CLASSES = 10**7


def names() -> tuple[str, ...]:
    """The names that `create` takes."""
    return tuple(NETWORKS)


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


def _find(name: str) -> Network:
    if not isinstance(name, str):
        raise InputError(f"the name of a network is {name!r}; give a text")
    if outside.is_outside(name):
        return Network(nn.Module, ())  # the defaults for a user's own network
    if name not in NETWORKS:
        raise InputError(f"there is no network {name!r}{nearest(str(name), NETWORKS)}")
    return NETWORKS[name]


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
