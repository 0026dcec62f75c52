"""The shapes of a network's variables, before anything is computed."""

import math
import os
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax

from jaxmask.errors import InputError
from jaxmask.model.registry import initialize


def shapes(module: nn.Module, image_shape: Sequence[int]) -> dict[str, Any]:
    """What `model.initialize` returns, as shapes and dtypes.

    Raises:
      InputError: the network cannot be built for such images, or is larger than the memory.
    """
    try:
        found = jax.eval_shape(lambda: initialize(module, jax.random.key(0), image_shape))
    except InputError:
        raise
    except Exception as error:  # a network of the user's own may raise anything
        reason = (str(error).splitlines() or [""])[0]
        raise InputError(
            f"the network cannot be built for images {tuple(image_shape)}: "
            f"{type(error).__name__}: {reason}"
        ) from None
    needed = sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(found))
    if needed > memory():
        raise InputError(
            f"the network has {needed / 2**30:,.0f} GiB of weights for images "
            f"{tuple(image_shape)}, more than this machine's memory; give a smaller width"
        )
    return found


def real_shape(module: nn.Module, image_shape: Sequence[int]) -> tuple[int, ...]:
    """The shape of an input of real numbers, for scores and paths that begin at one.

    It is that of the images (H, W, C), or for texts of (L,) tokens, whose ids are no quantities,
    that of their embeddings (L, size). (L,) itself for a network of texts without a field `size`.

    Example:
        >>> from jaxmask import model
        >>> model.real_shape(model.create("bert_tiny", classes=2), (16,))
        (16, 128)
    """
    size = getattr(module, "size", None) if len(image_shape) == 1 else None
    return (*image_shape, size) if size else tuple(image_shape)


def memory() -> float:
    """The bytes of this machine's memory; infinite if the system does not say."""
    try:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (ValueError, OSError):
        return math.inf
