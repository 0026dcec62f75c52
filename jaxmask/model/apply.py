"""A Linen network as pure functions of its trees."""

import inspect
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxmask.convolution import fast
from jaxmask.errors import InputError


def apply_function(module: nn.Module) -> Callable[..., tuple[jax.Array, Any]]:
    """The network as a pure function that returns logits and updated batch statistics.

    Returns:
      (parameters, batch_stats, images [B, H, W, C], train) -> (logits [B, classes], batch_stats).
      A module whose `__call__` takes no `train` is called without it.
    """

    def network(
        parameters: Any, batch_stats: Any, images: jax.Array, train: bool
    ) -> tuple[jax.Array, Any]:
        variables = {"params": parameters, "batch_stats": batch_stats}
        if not train:
            logits: Any = module.apply(variables, images, **mode(module, False))
            return logits, batch_stats
        logits, changed = module.apply(
            variables, images, mutable=["batch_stats"], **mode(module, True)
        )
        return logits, changed.get("batch_stats", batch_stats)

    return network


def feature_function(
    module: nn.Module, prepare: Callable[[jax.Array], jax.Array]
) -> Callable[[Any, jax.Array], jax.Array]:
    """(variables, uint8 images) -> float32 features [B, F], the input of the head; jitted.

    Raises:
      InputError: the module's `__call__` takes no `features`.
    """
    _check_features(module)

    @jax.jit
    @fast
    def features(variables: Any, images: jax.Array) -> jax.Array:
        found: Any = module.apply(variables, prepare(images), features=True, **mode(module, False))
        return found.astype(jnp.float32)

    return features


def embedding_function(module: nn.Module) -> Callable[..., tuple[jax.Array, Any]]:
    """The network without its head, in training: it uses the statistics of the batch.

    Returns:
      (parameters, batch_stats, images [B, H, W, C]) -> (features [B, F], batch_stats).

    Raises:
      InputError: the module's `__call__` takes no `features`.
    """
    _check_features(module)

    def embed(parameters: Any, batch_stats: Any, images: jax.Array) -> tuple[jax.Array, Any]:
        features, changed = module.apply(
            {"params": parameters, "batch_stats": batch_stats}, images, features=True,
            mutable=["batch_stats"], **mode(module, True),
        )  # fmt: skip
        return features, changed.get("batch_stats", batch_stats)

    return embed


def _check_features(module: nn.Module) -> None:
    if not _takes(module, "features"):
        raise InputError(
            f"{type(module).__name__} gives no features: add the argument features to its __call__"
        )


def mode(module: nn.Module, train: bool) -> dict[str, Any]:
    """The argument `train` of a module's `__call__`, where it takes one."""
    return {"train": train} if _takes(module, "train") else {}


def _takes(module: nn.Module, argument: str) -> bool:
    parameters = inspect.signature(type(module).__call__).parameters.values()
    return any(each.name == argument or each.kind is each.VAR_KEYWORD for each in parameters)
