"""Re-estimates a network's batch statistics on given images."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxmask import signals
from jaxmask.convolution import fast
from jaxmask.errors import InputError
from jaxmask.model import mode


def reestimate(
    module: nn.Module,
    variables: dict[str, Any],
    prepare: Any,
    images: Any,
    batch_size: int = 256,
) -> dict[str, Any]:
    """The variables with batch statistics of these images instead of the running ones.

    For every batch norm: the mean, and the variance around it, over all full batches in train
    mode; batches are random, each normalized by its own statistics. A network without batch norm
    is returned unchanged.

    Args:
      module: a Linen network, see `model.create`.
      variables: {"params", "batch_stats"}.
      prepare: uint8 images [B, H, W, C] -> the network's input.
      images: uint8 [N, H, W, C], on the host; may be memory-mapped or lazily decoded.
      batch_size: examples per batch; if there are fewer, all.

    Raises:
      InputError: fewer than two images.
    """
    statistics = variables.get("batch_stats", {})
    if not jax.tree.leaves(statistics):
        return variables
    if len(images) < 2:
        raise InputError("batch statistics need at least two images; give more")
    batch_size = min(batch_size, len(images))

    def moved(start: float, batch: jax.Array) -> Any:
        """The running statistics after one batch, from `start` everywhere."""
        before = jax.tree.map(lambda leaf: jnp.full_like(leaf, start), statistics)
        given = {**variables, "batch_stats": before}
        _, after = module.apply(
            given, prepare(batch), mutable=["batch_stats"], **mode(module, True)
        )
        return after["batch_stats"]

    @jax.jit
    @fast
    def of_batch(batch: jax.Array) -> Any:
        # running = momentum * start + (1 - momentum) * batch's: two starts give the momentum
        zero, one = moved(0.0, batch), moved(1.0, batch)
        own = jax.tree.map(lambda a, b: a / (1 - _momentum(a, b)), zero, one)
        # second moments can be averaged over batches, variances around each mean cannot
        return _norms(own, lambda mean, var: {"mean": mean, "var": var + mean**2})

    total: Any = None
    # in random order: sorted images would give batches of one class, with other statistics
    order = np.random.default_rng(0).permutation(len(images))
    starts = range(0, len(images) - batch_size + 1, batch_size)
    for start in starts:
        signals.obey()
        rows = np.sort(order[start : start + batch_size])  # in the order of the file
        found = of_batch(jnp.asarray(np.asarray(images[rows])))
        total = found if total is None else jax.tree.map(jnp.add, total, found)
    averaged = jax.tree.map(lambda leaf: leaf / len(starts), total)
    centered = _norms(averaged, _centered)
    return {**variables, "batch_stats": centered}


def _momentum(zero: jax.Array, one: jax.Array) -> jax.Array:
    """The momentum of running statistics, from the channel with the least rounding error."""
    return (one - zero)[jnp.argmin(jnp.abs(zero))]


def _centered(mean: jax.Array, square: jax.Array) -> dict[str, jax.Array]:
    return {"mean": mean, "var": jnp.maximum(square - mean**2, 0)}


def _norms(tree: Any, function: Any) -> Any:
    """`function(mean, var)` in place of every batch norm's statistics."""
    if set(tree) == {"mean", "var"}:
        return function(tree["mean"], tree["var"])
    return {name: _norms(branch, function) for name, branch in tree.items()}
