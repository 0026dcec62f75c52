"""N:M sparsity: n of every m consecutive weights, the pattern that hardware accelerates."""

import functools

import jax
import jax.numpy as jnp
from jax import lax

from jaxmask.errors import InputError
from jaxmask.mask.check import integers, require_floating
from jaxmask.mask.order import ordered
from jaxmask.sharding import automatic
from jaxmask.tree import PyTree, paths


def keep_n_of_m(scores: PyTree, n: int = 2, m: int = 4, axis: int = -2) -> PyTree:
    """Keeps exactly the `n` highest of every `m` consecutive scores along an axis of each leaf.

    2:4 is what sparse tensor cores multiply (Mishra et al. 2021, https://arxiv.org/abs/2104.08378);
    N:M in general: Zhou et al. 2021, https://arxiv.org/abs/2102.04010. Of equal scores the earlier
    is kept; -0.0 equals 0.0, and a NaN is never kept ahead of a number. The density is `n / m`.

    Args:
      scores: a tree of floating-point arrays; higher means keep.
      n: how many are kept of each group, 1 to `m`.
      m: how many are in a group.
      axis: along which groups are consecutive. -2 is the input axis of a Linen kernel
        `[..., in, out]`, along which a product sums.

    Returns:
      A tree of bool with the shapes of `scores`.

    Raises:
      InputError: unless `1 <= n <= m`; for scores that are not floating point; naming the leaf,
        if it has no such axis or the axis's length is not a multiple of `m`.

    Example:
      >>> kernel = jnp.array([[5.0, 0.0], [1.0, 0.0], [3.0, 2.0], [4.0, 0.0]])
      >>> mask.keep_n_of_m({"kernel": kernel})["kernel"].T.astype(int).tolist()
      [[1, 0, 0, 1], [1, 0, 1, 0]]
    """
    n, m, axis = integers([n, m, axis], "n, m, axis")
    if not 1 <= n <= m:
        raise InputError(f"n={n}, m={m}; keep n of every m, 1 <= n <= m")
    require_floating(scores, "scores")
    leaves, structure = jax.tree.flatten(scores)
    for index, leaf in enumerate(leaves):
        if not -leaf.ndim <= axis < leaf.ndim or leaf.shape[axis] % m:
            raise InputError(
                f"scores: {paths(scores)[index]!r} has shape {leaf.shape}; "
                f"its axis {axis} must be a multiple of m={m}"
            )
    return jax.tree.unflatten(structure, _keep(leaves, n, m, axis))


# Compiled even if the caller is not, so that the comparisons fuse.
@functools.partial(jax.jit, static_argnums=(1, 2, 3))
def _keep(leaves: list[jax.Array], n: int, m: int, axis: int) -> list[jax.Array]:
    return [automatic(_kept, leaf, leaf, n, m, axis) for leaf in leaves]


def _kept(leaf: jax.Array, n: int, m: int, axis: int) -> jax.Array:
    axis %= leaf.ndim
    keys = ordered(lax.stop_gradient(jnp.asarray(leaf)))
    place = axis + 1
    groups = keys.reshape(*leaf.shape[:axis], -1, m, *leaf.shape[place:])
    position = lax.broadcasted_iota(jnp.int32, groups.shape, place)
    # How many of its group rank before a score. m comparisons fuse into one pass; a sort does not.
    ahead = jnp.zeros(groups.shape, jnp.int32)
    for other in range(m):
        rival = lax.slice_in_dim(groups, other, other + 1, axis=place)
        before = (rival > groups) | ((rival == groups) & (other < position))
        ahead += before.astype(jnp.int32)
    return (ahead < n).reshape(leaf.shape)
