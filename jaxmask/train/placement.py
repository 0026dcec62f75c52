"""Trees between the host and the devices, some of which may be other hosts'."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Sharding

Tree = Any


def host_copy(tree: Tree) -> Tree:
    """The tree as copies in NumPy: on a CPU, `device_get` may return a view.

    Random keys, which noisy optimizers have, become their key data.
    """
    plain = jax.tree.map(lambda leaf: jax.random.key_data(leaf) if _is_key(leaf) else leaf, tree)
    return jax.tree.map(lambda leaf: np.array(leaf, copy=True), jax.device_get(plain))


def device_copy(host: Tree, like: Tree, sharding: Sharding | None = None) -> Tree:
    """The inverse of `host_copy`: arrays with the dtypes of `like`.

    Args:
      sharding: of all leaves; None is that of each leaf of `like`.
    """

    def leaf(new: np.ndarray, old: jax.Array) -> jax.Array:
        place = sharding or old.sharding
        if _is_key(old):
            return jax.random.wrap_key_data(put(new, place), impl=jax.random.key_impl(old))
        return put(np.asarray(new, old.dtype), place)

    return jax.tree.map(leaf, host, like)


def put(x: np.ndarray, sharding: Sharding) -> jax.Array:
    """A copy of an array of the host; of its parts on devices of other hosts, these put theirs."""
    if sharding.is_fully_addressable:
        # a copy, because a state's arrays are donated
        return jax.device_put(jnp.array(x), sharding)
    return jax.make_array_from_callback(x.shape, sharding, lambda index: x[index])


def own_columns(sharding: Sharding, shape: tuple[int, ...]) -> np.ndarray:
    """The indices along axis 1 of the parts of an array that are on this host's devices."""
    columns = np.arange(shape[1])
    parts = sharding.addressable_devices_indices_map(shape).values()
    return np.unique(np.concatenate([columns[part[1]] for part in parts if part is not None]))


def _is_key(leaf: object) -> bool:
    return jnp.issubdtype(getattr(leaf, "dtype", np.float32), jax.dtypes.prng_key)
