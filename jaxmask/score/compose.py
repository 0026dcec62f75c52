"""Scores of scores, and scores as weights: compositions of scorers."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxmask.errors import InputError, nearest
from jaxmask.mask.axes import Stated, layers_of
from jaxmask.precision import common, total, widened
from jaxmask.sharding import like
from jaxmask.tree import PyTree, aligned

Scorer = Callable[..., PyTree]
SCOPES = ("global", "layer")
SIGNS = ("weight", "score")


def stack(first: Scorer, second: Scorer, normalize: bool = False) -> Scorer:
    """`s = second(first(w))`: the second criterion, with the first one's scores as weights.

    Apply the mask made from these scores to the original weights. Pruning in many shots scores the
    weights that are left by both, at every shot: a weight that is 0 is pruned, and remains 0 for
    the second criterion even if the first one scores it (by a gradient alone, say).

    The source is silent on the scale of the first scores. It makes no difference to a second
    criterion of one degree, such as magnitude, or SynFlow in a network without biases; to one of
    the loss (SNIP, GraSP) it does: logits that are a thousand times larger saturate the softmax.

    Source: Lutz, Manai, Hitting the jackpot: optimizing neural networks with composite pruning
    strategies, ZHAW 2022.

    Args:
      first, second: scorers.
      normalize: divides the first scores by the size of their sum, `s / |sum s|`, as the source's
        code does for GraSP. (SNIP's add up to 1 in any case, those of SynFlow and magnitude it
        leaves as they are.)

    Returns:
      A scorer (w, *batch) -> scores of the shapes of `w`.

    Example:
      >>> squared = score.stack(score.magnitude(), lambda w: jax.tree.map(jnp.square, w))
      >>> squared({"w": jnp.array([-3.0, 2.0])})["w"].tolist()
      [9.0, 4.0]
    """

    def scores(w: PyTree, *batch: Any) -> PyTree:
        given = first(w, *batch)
        given = by_sum(given) if normalize else given
        return like(w, second(remaining(w, given), *batch))

    return scores


def as_weights(
    scorer: Scorer,
    scope: str = "global",
    sign: str = "weight",
    shift: bool = False,
    axes: Stated = (),
) -> Scorer:
    """`sign(w) * |s| / max |s|`: scores as an initialization, in [-1, 1].

    If all scores are zero, so are the weights. A weight that is 0 remains 0, unless the signs are
    the scores' own.

    The source says: scaled to [-1, 1], with the sign of the original weight. Its code scales each
    layer by itself and subtracts the least score first, which is `scope="layer", shift=True`. For
    scores above 0 that begin at 0 (SNIP, SynFlow) the shift makes no difference; GraSP's negative
    scores become small weights by it, and large ones without.

    Args:
      scorer: (w, *batch) -> scores.
      scope: of the maximum: `"global"`, of the whole tree, which keeps the scores' proportions
        between layers; `"layer"`, of each layer, which therefore all reach 1.
      sign: `"weight"`, that of the old weight; `"score"`, the score's own: `s / max |s|`.
      shift: sizes are `(s - min s) / (max s - min s)`, the least one over the same scope.
      axes: what the axes of leaves mean, where it is not guessed; see `mask.describe`. Scope
        `"layer"` scales each of stacked layers.

    Returns:
      A function (w, *batch) -> weights of the shapes and dtypes of `w`.

    Raises:
      InputError: an unknown scope or sign; a shift of scores that keep their signs; by the result,
        for a leaf that may be one layer or several.

    Example:
      >>> score.as_weights(score.magnitude())({"w": jnp.array([-3.0, 1.5])})["w"].tolist()
      [-1.0, 0.5]
    """
    for what, value, known in (("scope", scope, SCOPES), ("sign", sign, SIGNS)):
        if value not in known:
            raise InputError(f"as_weights: unknown {what} {value!r}{nearest(str(value), known)}")
    if not isinstance(shift, bool):
        raise InputError(f"as_weights: shift {shift!r}; it must be True or False")
    if shift and sign == "score":
        raise InputError(
            "as_weights: shifted scores are all above 0, so that none keeps its own sign; "
            "use sign='weight'"
        )

    def weights(w: PyTree, *batch: Any) -> PyTree:
        found = jax.tree.map(widened, aligned(w, scorer(w, *batch), "the scores"))
        if shift:
            sizes = jax.tree.map(jnp.subtract, found, _over(jnp.min, found, scope, axes))
        else:
            sizes = jax.tree.map(jnp.abs, found)
        largest = _over(jnp.max, sizes, scope, axes)

        def scaled(w: jax.Array, s: jax.Array, size: jax.Array, most: jax.Array) -> jax.Array:
            signs = jnp.sign(w) if sign == "weight" else jnp.sign(s).astype(w.dtype)
            return signs * (size / jnp.where(most == 0, 1, most)).astype(w.dtype)

        return like(w, jax.tree.map(scaled, w, found, sizes, largest))

    return weights


def remaining(w: PyTree, scores: PyTree) -> PyTree:
    """The scores of the weights that are left: 0 where the weight is 0."""
    given = aligned(w, scores, "the scores")
    return like(w, jax.tree.map(lambda w, s: jnp.where(w == 0, 0, s), w, given))


def by_sum(scores: PyTree) -> PyTree:
    """`s / |sum s|`, in float32 or wider; the scores themselves if they add up to 0."""
    leaves = jax.tree.map(widened, scores)
    size = jnp.abs(total(jax.tree.leaves(leaves)))
    divisor = jnp.where(size == 0, 1, size)
    return like(scores, jax.tree.map(lambda s: s / divisor.astype(s.dtype), leaves))


def _over(reduce: Callable[..., jax.Array], tree: PyTree, scope: str, axes: Stated) -> PyTree:
    """The least or largest entry of the whole tree or of each layer, for each leaf."""
    leaves, structure = jax.tree.flatten(tree)
    full = [leaf for leaf in leaves if leaf.size]
    if not full:
        return tree
    if scope == "global":
        found = reduce(jnp.stack([reduce(leaf).astype(common(full)) for leaf in full]))
        return jax.tree.unflatten(structure, [found.astype(leaf.dtype) for leaf in leaves])
    layers = layers_of(tree, axes, "how its scores are scaled")
    within = [tuple(set(range(leaf.ndim)) - set(each)) for leaf, each in zip(leaves, layers)]
    each = [
        reduce(leaf, axis=axis, keepdims=True) if leaf.size else leaf
        for leaf, axis in zip(leaves, within)
    ]
    return jax.tree.unflatten(structure, each)
