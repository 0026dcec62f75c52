"""Selective masking: learn only a fraction of the scores; the other weights stay on."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxmask.errors import InputError
from jaxmask.mask.allocate import allocate
from jaxmask.mask.axes import Stated
from jaxmask.mask.check import check_density, require_floating
from jaxmask.mask.initialize import drawn, magnitude
from jaxmask.mask.select import keep_count
from jaxmask.mask.transform import MaskTransform
from jaxmask.tree import PyTree, align, paths


def selective(transform: MaskTransform, selected: PyTree) -> MaskTransform:
    """Masks only the selected weights; the others are always on.

    The transform sees `where(selected, s, +inf)`: an infinite score is above every threshold and
    at the top of every leaf, and its gradient is exactly zero. With `top_k`, the unselected
    weights count as kept; a density too small for all of them drops some.

    Args:
      transform: any mask transform.
      selected: a tree of bool with the scores' structure; each leaf of the scores' shape, or one
        bool for the whole leaf. `random_share` and `largest_share` make such trees.

    Returns:
      A mask transform. Its `mask` and `apply` raise InputError if structures or shapes differ.

    Raises:
      InputError: for a transform of other values (`levels`), whose highest may not be 1.

    Example:
      >>> tx = mask.selective(mask.threshold(), {"w": jnp.array([True, False])})
      >>> tx.mask({"w": jnp.array([-1.0, -1.0])})["w"].tolist()
      [0.0, 1.0]
    """

    if transform.values:
        raise InputError(
            f"selective: masks of the values {transform.values} have none that is simply on; "
            "learn all of their scores"
        )

    def always_on(scores: PyTree) -> PyTree:
        require_floating(scores, "scores")
        choices = align(scores, selected, "selected", shapes=False)
        leaves, structure = jax.tree.flatten(scores)
        for index, (choice, s) in enumerate(zip(choices, leaves)):
            if jnp.shape(choice) not in ((), s.shape) or not jnp.issubdtype(
                jnp.result_type(choice), jnp.bool_
            ):
                raise InputError(
                    f"selected: {paths(scores)[index]!r} is {jnp.result_type(choice)} of shape "
                    f"{jnp.shape(choice)}; give one bool, or bools of shape {s.shape}"
                )
        return jax.tree.unflatten(
            structure, [jnp.where(choice, s, jnp.inf) for choice, s in zip(choices, leaves)]
        )

    return MaskTransform(
        transform.init,
        lambda scores: transform.mask(always_on(scores)),
        lambda scores, weights: transform.apply(always_on(scores), weights),
        transform.put,
    )


def random_share(
    key: jax.Array, weights: PyTree, share: Any, scope: str = "layer", axes: Stated = ()
) -> PyTree:
    """Selects exactly the fraction `share` of the weights at random.

    Args:
      key: random key; a leaf's selection depends on it and the leaf's path.
      weights: a tree of floating-point arrays.
      share: in (0, 1], in exact decimal as in `mask.allocate`.
      scope: the share `"layer"` of every layer, `"global"` of the whole tree, or `"erk"`.
      axes: what the axes of leaves mean, where it is not guessed; see `mask.describe`.

    Returns:
      A tree of bool.

    Raises:
      InputError: for a share outside (0, 1], an unknown scope, a key that is None.

    Example:
      >>> int(mask.random_share(jax.random.key(0), {"w": jnp.ones(10)}, 0.3)["w"].sum())
      3
    """
    require_floating(weights, "random_share")
    return _top_share(_uniform(key, weights), share, scope, axes)


def largest_share(weights: PyTree, share: Any, scope: str = "layer", axes: Stated = ()) -> PyTree:
    """Selects exactly the fraction `share` of the weights with the largest magnitude.

    Args:
      weights: a tree of floating-point arrays.
      share: in (0, 1], in exact decimal as in `mask.allocate`.
      scope: the share `"layer"` of every layer, `"global"` of the whole tree, or `"erk"`.
      axes: what the axes of leaves mean, where it is not guessed; see `mask.describe`.

    Returns:
      A tree of bool.

    Raises:
      InputError: for a share outside (0, 1] or an unknown scope.

    Example:
      >>> mask.largest_share({"w": jnp.array([1.0, -3.0, 2.0, 0.0])}, 0.5)["w"].tolist()
      [False, True, True, False]
    """
    return _top_share(magnitude()(None, weights), share, scope, axes)


_uniform = drawn(lambda key, w: jax.random.uniform(key, w.shape))


def _top_share(scores: PyTree, share: Any, scope: str, axes: Stated) -> PyTree:
    if not isinstance(share, jax.core.Tracer):
        check_density(share, "share")
    return keep_count(scores, allocate(scores, share, scope, axes), scope, axes=axes)
