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
    own = jax.tree.map(_assembled, plain)
    return jax.tree.map(lambda leaf: np.array(leaf, copy=True), jax.device_get(own))


def device_copy(host: Tree, like: Tree, layout: Tree = None) -> Tree:
    """The inverse of `host_copy`: arrays with the dtypes of `like`.

    Args:
      layout: a sharding for each leaf; None is that of the leaf of `like`.
    """

    def leaf(new: np.ndarray, old: jax.Array, place: Sharding) -> jax.Array:
        if _is_key(old):
            return jax.random.wrap_key_data(put(new, place), impl=jax.random.key_impl(old))
        return put(np.asarray(new, old.dtype), place)

    if layout is None:
        layout = jax.tree.map(lambda leaf: leaf.sharding, like)
    return jax.tree.map(leaf, host, like, layout)


def _assembled(leaf: Any) -> Any:
    """An array of which some devices are other hosts', from the parts that this host has."""
    if not isinstance(leaf, jax.Array) or leaf.is_fully_addressable or leaf.is_fully_replicated:
        return leaf
    whole = np.empty(leaf.shape, leaf.dtype)
    for part in leaf.addressable_shards:
        whole[part.index] = part.data
    return whole


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
