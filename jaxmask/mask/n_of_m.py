"""N:M sparsity: n of every m consecutive weights, the pattern that hardware accelerates."""

import functools
import math

import jax
import jax.numpy as jnp
from jax import lax

from jaxmask.errors import InputError
from jaxmask.mask.axes import Axes, Stated, answers
from jaxmask.mask.check import integers, require_floating
from jaxmask.mask.order import ordered
from jaxmask.sharding import automatic
from jaxmask.tree import PyTree, paths


def keep_n_of_m(
    scores: PyTree, n: int = 2, m: int = 4, axis: int | None = None, axes: Stated = ()
) -> PyTree:
    """Keeps exactly the `n` highest of every `m` consecutive scores along the inputs of each leaf.

    2:4 is what sparse tensor cores multiply (Mishra et al. 2021, https://arxiv.org/abs/2104.08378);
    N:M in general: Zhou et al. 2021, https://arxiv.org/abs/2102.04010. Of equal scores the earlier
    is kept; -0.0 equals 0.0, and a NaN is never kept ahead of a number. The density is `n / m`.

    Args:
      scores: a tree of floating-point arrays; higher means keep.
      n: how many are kept of each group, 1 to `m`.
      m: how many are in a group.
      axis: the one axis along which groups are consecutive, in every leaf. None takes the inputs,
        over which a product sums, from `axes`: of several adjacent axes (heads and their sizes)
        the last, or more of them in the order of memory if it is no multiple of `m`.
      axes: what the axes of leaves mean, where it is not guessed; see `mask.describe`.

    Returns:
      A tree of bool with the shapes of `scores`.

    Raises:
      InputError: unless `1 <= n <= m`; for scores that are not floating point; naming the leaf,
        if it has no such axis, the axis's length is not a multiple of `m`, or the groups depend
        on what its axes mean.

    Example:
      >>> kernel = jnp.array([[5.0, 0.0], [1.0, 0.0], [3.0, 2.0], [4.0, 0.0]])
      >>> mask.keep_n_of_m({"kernel": kernel})["kernel"].T.astype(int).tolist()
      [[1, 0, 0, 1], [1, 0, 1, 0]]
    """
    n, m = integers([n, m], "n, m")
    if axis is not None:
        (axis,) = integers([axis], "axis")
    if not 1 <= n <= m:
        raise InputError(f"n={n}, m={m}; keep n of every m, 1 <= n <= m")
    require_floating(scores, "scores")
    leaves, structure = jax.tree.flatten(scores)
    along = [(axis,)] * len(leaves) if axis is not None else _inputs(scores, m, axes)
    for index, (leaf, found) in enumerate(zip(leaves, along)):
        exist = all(-leaf.ndim <= each < leaf.ndim for each in found)
        if not found or not exist or math.prod(leaf.shape[each] for each in found) % m:
            where = f"axis {axis}" if axis is not None else "inputs"
            raise InputError(
                f"scores: {paths(scores)[index]!r} has shape {leaf.shape}; "
                f"its {where} must be a multiple of m={m}"
            )
    return jax.tree.unflatten(structure, _keep(leaves, n, m, tuple(along)))


def adjacent(axes: tuple[int, ...], shape: tuple[int, ...], side: int) -> tuple[int, ...]:
    """The last axes, as few adjacent ones as have a multiple of `side` entries; () if none have."""
    for first in reversed(range(len(axes))):
        found = axes[first:]
        if found[-1] - found[0] != len(found) - 1:
            break
        if math.prod(shape[each] for each in found) % side == 0:
            return found
    return ()


def _inputs(scores: PyTree, m: int, axes: Stated) -> list[tuple[int, ...]]:
    def question(found: Axes, shape: tuple[int, ...]) -> tuple[int, ...]:
        return adjacent(found.inputs, shape, m)

    return answers(scores, axes, question, "which scores form a group")


# Compiled even if the caller is not, so that the comparisons fuse.
@functools.partial(jax.jit, static_argnums=(1, 2, 3))
def _keep(
    leaves: list[jax.Array], n: int, m: int, along: tuple[tuple[int, ...], ...]
) -> list[jax.Array]:
    return [automatic(_kept, leaf, leaf, n, m, axes) for leaf, axes in zip(leaves, along)]


def _kept(leaf: jax.Array, n: int, m: int, axes: tuple[int, ...]) -> jax.Array:
    """Groups are along adjacent axes, in the order of memory."""
    first, last = axes[0] % leaf.ndim, axes[-1] % leaf.ndim
    keys = ordered(lax.stop_gradient(jnp.asarray(leaf)))
    place = first + 1
    length = math.prod(leaf.shape[first : last + 1])
    groups = keys.reshape(*leaf.shape[:first], length // m, m, *leaf.shape[last + 1 :])
    position = lax.broadcasted_iota(jnp.int32, groups.shape, place)
    # How many of its group rank before a score. m comparisons fuse into one pass; a sort does not.
    ahead = jnp.zeros(groups.shape, jnp.int32)
    for other in range(m):
        rival = lax.slice_in_dim(groups, other, other + 1, axis=place)
        before = (rival > groups) | ((rival == groups) & (other < position))
        ahead += before.astype(jnp.int32)
    return (ahead < n).reshape(leaf.shape)
