"""A learned task put onto the weights that it was learned over."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxmask.errors import InputError
from jaxmask.mask.transform import masked
from jaxmask.tree import PyTree, named_leaves


def restore(
    variables: PyTree,
    masks: PyTree,
    arrays: PyTree,
    *,
    rescale: bool = True,
    low_rank_scale: float = 1.0,
) -> PyTree:
    """The variables of a network that has taken on a task.

    In this order, for each leaf: an array that replaces it, a low-rank update
    `w + low_rank_scale * a b` (the product over a's last axis), and the mask `w * m / alpha` with
    `alpha = sqrt(mean(m))` (1 without `rescale`, and for signs). Pure and jittable.

    Args:
      variables: the base network's, a nested dict `{"params": ..., "batch_stats": ...}`.
      masks: a nested dict of bool, {0, 1} or {-1, 1}, by path below `params`.
      arrays: a nested dict; `params` and `batch_stats` hold leaves that replace the base's or are
        new (a head), `low_rank` holds `a` [..., r] and `b` [r, out] by path below `params`.
      rescale: whether masks of {0, 1} are divided by alpha.
      low_rank_scale: of the low-rank updates.

    Raises:
      InputError: a mask or an update for a leaf that the base network does not have, or of
        another shape.

    Example:
      >>> base = {"params": {"w": jnp.array([3.0, 5.0, 5.0, 5.0])}}
      >>> kept = {"w": jnp.array([True, False, False, False])}
      >>> mask.restore(base, kept, {})["params"]["w"].tolist()
      [6.0, 0.0, 0.0, 0.0]
    """
    flat = named_leaves(variables)
    for part in ("params", "batch_stats"):
        for path, leaf in named_leaves(arrays.get(part, {})).items():
            flat[f"{part}/{path}"] = leaf
    for path, factors in _factors(arrays.get("low_rank", {})).items():
        base = _leaf(flat, path, "low-rank update")
        update = jnp.tensordot(factors["a"], factors["b"], 1)
        if update.shape != base.shape:
            raise InputError(
                f"the low-rank update of {path!r} has shape {update.shape}, the weights "
                f"{base.shape}"
            )
        flat[f"params/{path}"] = base + (low_rank_scale * update).astype(base.dtype)
    for path, leaf in named_leaves(masks).items():
        base = _leaf(flat, path, "mask")
        if leaf.shape != base.shape:
            raise InputError(
                f"the mask of {path!r} has shape {leaf.shape}, the weights {base.shape}; "
                "it belongs to another network"
            )
        bits = jnp.asarray(leaf).astype(jnp.float32)
        under = masked(bits, jnp.asarray(base), rescale)
        if rescale:  # signs are told by their values, for {0, 1} has all dtypes
            under = jnp.where((bits < 0).any(), bits * base, under)
        flat[f"params/{path}"] = under
    return {"batch_stats": {}, **_nested(flat)}


def _leaf(flat: dict[str, Any], path: str, what: str) -> Any:
    if f"params/{path}" not in flat:
        raise InputError(f"there is a {what} for {path!r}, which the base network does not have")
    return flat[f"params/{path}"]


def _factors(tree: PyTree) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for path, leaf in named_leaves(tree).items():
        place, _, name = path.rpartition("/")
        found.setdefault(place, {})[name] = leaf
    for place, factors in found.items():
        if set(factors) != {"a", "b"}:
            raise InputError(f"the low-rank update of {place!r} has not the two factors a and b")
    return found


def _nested(flat: dict[str, Any]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for path, leaf in flat.items():
        *folders, last = path.split("/")
        place = nested
        for folder in folders:
            place = place.setdefault(folder, {})
        place[last] = leaf if not isinstance(leaf, np.ndarray) else jnp.asarray(leaf)
    return nested
