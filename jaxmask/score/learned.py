"""Scores that a regressor predicts from what other criteria say of each weight."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.tree_util import Partial

from jaxmask.errors import InputError, nearest
from jaxmask.precision import common, wide, widened
from jaxmask.sharding import automatic
from jaxmask.tree import PyTree, aligned

Scorer = Callable[..., PyTree]
SCALES = ("values", "ranks", "none")
ROWS = 2**20  # predicted at a time, which bounds the memory of a network's hidden units


def learned(
    predict: Callable[[jax.Array], jax.Array],
    scorers: Sequence[Scorer],
    scale: str | Sequence[str] = "values",
) -> Scorer:
    """`s_i = predict(x)_i`: row `x_i` has the scores of weight i by F criteria, see `features`.

    A weight that is 0 is pruned: it has no part in the scale of the features, and the least score
    of those that are left. If all predictions are the same, they say nothing, and all scores are 0.
    If features are not finite, or a criterion's scores are all zero, all scores are NaN: in both
    cases recipes stop.

    Source: Lutz, Manai, Hitting the jackpot: optimizing neural networks with composite pruning
    strategies, ZHAW 2022, chapter 5.2.

    Args:
      predict: float32 [N, F] -> [N], row by row. `score.regressor` makes some of arrays. Another
        `jax.tree_util.Partial` of the same function and shapes compiles nothing anew.
      scorers: F scorers; any scorer, also a stack, or one that is learned itself.
      scale: of the features, one for all or one for each; see `features`.

    Returns:
      A scorer (w, *batch) -> scores of the shapes of `w`, in float32 or wider.

    Raises:
      InputError: no scorer, or an unknown scale; when called, if `predict` gives another shape.

    Example:
      >>> regressor = score.regressor.linear(jnp.array([1.0, 0.5]))
      >>> square = lambda w: jax.tree.map(jnp.square, w)
      >>> scores = score.learned(regressor, [score.magnitude(), square])
      >>> scores({"w": jnp.array([-3.0, 2.0, 1.0, 0.0])})["w"].tolist()
      [1.5, 0.6875, 0.0, 0.0]
    """
    wanted = _scales(scorers, scale)
    found = predict if isinstance(predict, Partial) else Partial(predict)

    def scores(w: PyTree, *batch: Any) -> PyTree:
        return _predicted(wanted, found, w, _scored(scorers, w, batch))

    return scores


def features(
    scorers: Sequence[Scorer], scale: str | Sequence[str] = "values"
) -> Callable[..., jax.Array]:
    """What `learned` predicts from: a row for each weight, a column for each scorer.

    With scale `"values"` a column is `(s - min s) / (max s - min s)`, with `"ranks"` the number of
    weights with lower scores, over N - 1 (equal scores share the mean of their ranks), with
    `"none"` the scores as they are. Both scales are over the whole tree, of the weights that are
    not 0; rows of the others are 0. A column is NaN if its scores of these weights are not finite
    or (to be scaled) all zero.

    Args:
      scorers: F of them.
      scale: one for all or one for each.

    Returns:
      A function (w, *batch) -> float32 [N, F], in the order of `jax.tree.leaves(w)`, each in
      row-major order.

    Raises:
      InputError: no scorer, or an unknown scale.

    Example:
      >>> rows = score.features([score.magnitude(), lambda w: w], ["ranks", "none"])
      >>> rows({"w": jnp.array([-3.0, 2.0, 4.0])}).tolist()
      [[0.5, -3.0], [0.0, 2.0], [1.0, 4.0]]
    """
    wanted = _scales(scorers, scale)

    def rows(w: PyTree, *batch: Any) -> jax.Array:
        return _features(wanted, w, _scored(scorers, w, batch))

    return rows


def _scales(scorers: Sequence[Scorer], scale: str | Sequence[str]) -> tuple[str, ...]:
    if not scorers:
        raise InputError("learned: there are no scorers to learn from; give at least one")
    wanted = (scale,) * len(scorers) if isinstance(scale, str) else tuple(scale)
    if len(wanted) != len(scorers):
        raise InputError(
            f"learned: {len(wanted)} scales for {len(scorers)} scorers; give one for all or for "
            "each"
        )
    for each in wanted:
        if each not in SCALES:
            raise InputError(f"learned: unknown scale {each!r}{nearest(str(each), SCALES)}")
    return wanted


def _scored(scorers: Sequence[Scorer], w: PyTree, batch: tuple[Any, ...]) -> list[PyTree]:
    return [aligned(w, scorer(w, *batch), "the scores") for scorer in scorers]


@functools.partial(jax.jit, static_argnums=0)
def _features(scales: tuple[str, ...], w: PyTree, found: list[PyTree]) -> jax.Array:
    return automatic(functools.partial(_rows, scales), None, w, found)


@functools.partial(jax.jit, static_argnums=0)
def _predicted(scales: tuple[str, ...], predict: Partial, w: PyTree, found: list[PyTree]) -> PyTree:
    def scores(predict: Partial, w: PyTree, found: list[PyTree]) -> PyTree:
        x, left = _rows(scales, w, found), _flat(jax.tree.map(lambda leaf: leaf != 0, w))
        # not fused with what is around it: the last bits are the same in every program
        s = lax.optimization_barrier(_in_pieces(predict, lax.optimization_barrier(x)))
        s = _ranked(jnp.where(jnp.isfinite(x).all(), s, jnp.nan), left)
        leaves, structure = jax.tree.flatten(w)
        ends = [sum(leaf.size for leaf in leaves[: i + 1]) for i in range(len(leaves))]
        cut = [
            s[end - leaf.size : end].reshape(leaf.shape).astype(wide(leaf.dtype))
            for leaf, end in zip(leaves, ends)
        ]
        return jax.tree.unflatten(structure, cut)

    return automatic(scores, w, predict, w, found)


def _ranked(s: jax.Array, left: jax.Array) -> jax.Array:
    """The scores of what is left, the least of them for all others; 0 if they say nothing."""
    least = jnp.min(s, where=left, initial=jnp.inf)
    same = (least == jnp.max(s, where=left, initial=-jnp.inf)) & (left.sum() > 1)
    return jnp.where(same | ~left.any(), 0, jnp.where(left, s, least))


def _in_pieces(predict: Partial, x: jax.Array) -> jax.Array:
    """`predict(x)`, at most `ROWS` rows at a time."""
    count = len(x)
    shape = jax.eval_shape(predict, x).shape
    if shape != (count,):
        raise InputError(
            f"learned: predict gave shape {shape} for features of shape {x.shape}; it must give "
            "one number for each row"
        )
    if count <= ROWS:
        return predict(x)
    pieces = -(-count // ROWS)
    filled = jnp.pad(x, ((0, pieces * ROWS - count), (0, 0)))
    return lax.map(predict, filled.reshape(pieces, ROWS, -1)).ravel()[:count]


def _rows(scales: tuple[str, ...], w: PyTree, found: list[PyTree]) -> jax.Array:
    left = _flat(jax.tree.map(lambda leaf: leaf != 0, w))
    columns = [
        _column(_flat(jax.tree.map(widened, each)), left, scale)
        for each, scale in zip(found, scales)
    ]
    return jnp.stack(columns, axis=1)


def _column(s: jax.Array, left: jax.Array, scale: str) -> jax.Array:
    scaled = s if scale == "none" else _SCALED[scale](s, left)
    column = jnp.where(left, scaled, 0).astype(jnp.float32)
    usable = jnp.all(jnp.isfinite(s) | ~left) & jnp.isfinite(column).all()
    if scale != "none":
        usable &= jnp.any(left & (s != 0)) | ~left.any()
    return jnp.where(usable, column, jnp.nan)


def _by_values(s: jax.Array, left: jax.Array) -> jax.Array:
    least = jnp.min(s, where=left, initial=jnp.inf)
    span = jnp.max(s, where=left, initial=-jnp.inf) - least
    return (s - least) / jnp.where(span == 0, 1, span)


def _by_ranks(s: jax.Array, left: jax.Array) -> jax.Array:
    ordered = jnp.sort(jnp.where(left, s, jnp.inf))
    first = jnp.searchsorted(ordered, s, side="left").astype(jnp.float32)
    last = jnp.searchsorted(ordered, s, side="right").astype(jnp.float32) - 1
    return (first + last) / 2 / jnp.maximum(left.sum() - 1, 1).astype(jnp.float32)


_SCALED = {"values": _by_values, "ranks": _by_ranks}


def _flat(w: PyTree) -> jax.Array:
    """All entries of a tree, one after the other, in a dtype that holds them."""
    leaves = jax.tree.leaves(w)
    dtype = common(leaves) if leaves else jnp.dtype("float32")
    return jnp.concatenate([jnp.zeros(0, dtype), *(leaf.ravel().astype(dtype) for leaf in leaves)])
