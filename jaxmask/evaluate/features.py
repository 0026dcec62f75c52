"""Features of a whole split, batch by batch on the device."""

from collections.abc import Callable
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from jaxmask import signals
from jaxmask.errors import InputError
from jaxmask.precision import widened


class Images(Protocol):
    """An array, or anything whose slices are arrays, such as images decoded on demand."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: slice, /) -> Any: ...


def extract(
    function: Callable[[jax.Array], jax.Array], images: Images, batch_size: int = 512
) -> np.ndarray:
    """`function` of every image, in order: [N, F] for images [N, H, W, C].

    The last batch is padded with copies of its last image, so that only one shape is compiled.

    Args:
      function: [B, H, W, C] uint8 -> [B, F], jitted.
      images: on the host; may be memory-mapped or made on demand.

    Raises:
      InputError: there are no images.
    """
    if not len(images):
        raise InputError("there are no images to extract features from; give at least one")
    found = []
    for start in range(0, len(images), batch_size):
        signals.obey()
        batch = np.asarray(images[start : start + batch_size])
        filling = [(0, batch_size - len(batch))] + [(0, 0)] * (batch.ndim - 1)
        features = function(jnp.asarray(np.pad(batch, filling, mode="edge")))
        found.append(np.asarray(features)[: len(batch)])
    return np.concatenate(found)


def unit(vectors: jax.Array) -> jax.Array:
    """[N, F] vectors divided by their lengths, in float32 or wider; zeros stay zeros."""
    vectors = widened(vectors)
    # Without this, the squares of large numbers overflow and those of small ones vanish.
    largest = jnp.abs(vectors).max(axis=1, keepdims=True)
    vectors = vectors / jnp.where(largest > 0, largest, 1)
    length = jnp.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / jnp.where(length > 0, length, 1)
