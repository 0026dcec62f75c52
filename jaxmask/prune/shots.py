"""Pruning in one shot or many: score, keep the highest, repeat, in one compiled program."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.tree_util import Partial

from jaxmask.convolution import fast
from jaxmask.errors import InputError
from jaxmask.mask import allocate, describe, keep_count, pruned
from jaxmask.mask.axes import Stated, certain_layers
from jaxmask.mask.check import require_floating
from jaxmask.prune.schedule import densities
from jaxmask.sharding import like
from jaxmask.tree import PyTree, aligned

Scorer = Callable[..., PyTree]


class Report(NamedTuple):
    """What happened shot by shot, counted from 1; leaves in the order of `jax.tree.leaves`.

    Attributes:
      kept: int32 [shots, leaves], weights left in each leaf after each shot.
      emptied: int32 [leaves], the first shot after which the leaf, or one layer of a stack, had
        nothing left; 0: none.
      not_finite: int32 [leaves], the first shot at which a score of a remaining weight (of any,
        if pruned ones may come back) was NaN or infinite; 0: none.
      all_zero: int32, the first shot at which all of these had score 0, so that the choice was
        random; 0: none.
    """

    kept: jax.Array
    emptied: jax.Array
    not_finite: jax.Array
    all_zero: jax.Array


def one_shot(
    scorer: Scorer,
    density: Any,
    scope: str = "global",
    key: jax.Array | None = None,
    report: bool = False,
    axes: Stated = (),
) -> Callable[..., Any]:
    """Scores once and keeps exactly the share `density` of the highest scores.

    Args:
      scorer: (w, *batch) -> scores, higher means keep; see `jaxmask.score`.
      density: the share kept, in (0, 1], of the tree (or of each leaf), in exact decimal.
      scope: `"global"`, `"layer"` or `"erk"`, as in `mask.keep_top`.
      key: for ties; None is a fixed key.
      report: also return a `Report`.
      axes: what the axes of leaves mean, where it is not guessed; see `mask.describe`.

    Returns:
      A function (w, *batch, among=None) -> mask: a tree of bool of the shapes of `w`, or
      (mask, Report); `among` as in `multi_shot`.

    Raises:
      InputError: as `multi_shot`.

    Example:
      >>> w = {"a": jnp.array([3.0, -1.0]), "b": jnp.array([0.5, -4.0])}
      >>> jax.tree.map(lambda leaf: leaf.tolist(), prune.one_shot(score.magnitude(), 0.5)(w))
      {'a': [True, False], 'b': [False, True]}
    """
    return multi_shot(scorer, density, 1, "exponential", scope, key, report=report, axes=axes)


def multi_shot(
    scorer: Scorer,
    density: Any,
    shots: int = 100,
    schedule: str = "exponential",
    scope: str = "global",
    key: jax.Array | None = None,
    monotone: bool = True,
    report: bool = False,
    begin: Any = 1.0,
    axes: Stated = (),
) -> Callable[..., Any]:
    """Scores and prunes the remaining weights `shots` times, in one compiled program.

    At shot k of K, weights pruned by earlier shots are zero: `scores = scorer(w * m)`; exactly
    the share `d_k` is kept (`prune.densities`; `d_K = density`). Another density or schedule with
    the same number of shots does not recompile as long as the scorer is the same object.

    Args:
      scorer: (w, *batch) -> scores, higher means keep; see `jaxmask.score`. A
        `jax.tree_util.Partial` may hold different arrays without recompilation.
      density: the share kept in the end, in (0, 1], in exact decimal.
      shots: at least 1.
      schedule: `"exponential"` or `"linear"`.
      scope: `"global"`, `"layer"` or `"erk"`, as in `mask.keep_top`.
      key: for ties; None is a fixed key.
      monotone: pruned weights stay pruned, whatever their scores; if False, they come back if
        their scores are high enough. The scorer sees them as 0: only one that knows the original
        weights scores them by these, such as `score.snip(loss, origin=w)`.
      report: also return a `Report`.
      begin: the share that is left before the first shot, if pruning continues from a mask.
      axes: what the axes of leaves mean, where it is not guessed; see `mask.describe`. Scopes
        `"layer"` and `"erk"` count each of stacked layers.

    Returns:
      A function (w, *batch, among=None) -> mask: a tree of bool of the shapes of `w`, or
      (mask, Report). `among` is the mask to continue from, a tree of bool; None: all weights.

    Raises:
      InputError: fewer than one shot, an unknown schedule or scope, a density outside (0, 1] or
        above `begin`; when called, for a tree without weights or not floating point.

    Example:
      >>> pruned = prune.multi_shot(score.magnitude(), 0.25, shots=10)({"w": jnp.arange(8.0)})
      >>> pruned["w"].tolist()
      [False, False, False, False, False, False, True, True]
    """
    shares = densities(density, shots, schedule, begin)

    def prune(w: PyTree, *batch: Any, among: PyTree | None = None) -> Any:
        require_floating(w, "the weights to prune")
        if not any(np.size(leaf) for leaf in jax.tree.leaves(w)):
            raise InputError("there is nothing to prune: the tree holds no weights")
        words = describe(w, axes)
        counts = np.stack([allocate(w, share, scope, words) for share in shares])
        if monotone:
            # Rounding by "erk" may give a leaf more at a later shot: it keeps that many until then.
            counts = np.maximum.accumulate(counts[::-1])[::-1]
        if among is None:
            among = jax.tree.map(lambda leaf: jnp.ones_like(leaf, bool), w)
        else:
            among = jax.tree.map(lambda leaf: jnp.asarray(leaf, bool), aligned(w, among, "among"))
        ties = jax.random.key(0) if key is None else key
        found = scorer if isinstance(scorer, Partial) else Partial(scorer)
        said = tuple(words.items())
        mask, told = _shots(scope, monotone, said, found, w, batch, among, counts, ties)
        return (mask, told) if report else mask

    return prune


# Numbers are arguments, so only another scorer, structure or number of shots recompiles.
@partial(jax.jit, static_argnums=(0, 1, 2))
def _shots(
    scope: str,
    monotone: bool,
    words: tuple[tuple[str, str], ...],
    scorer: Partial,
    w: PyTree,
    batch: Any,
    mask: PyTree,
    counts: jax.Array,
    key: jax.Array,
) -> tuple[PyTree, Report]:
    def shot(mask: PyTree, w: PyTree, batch: Any, count: jax.Array, key: jax.Array) -> Any:
        scores = like(w, aligned(w, scorer(pruned(mask, w), *batch), "the scores"))
        among = mask if monotone else None
        kept = keep_count(scores, count, scope, key=key, among=among, axes=dict(words))
        competing = mask if monotone else jax.tree.map(jnp.ones_like, mask)
        return kept, _observed(scores, competing, kept, certain_layers(w, dict(words)))

    def body(mask: PyTree, x: Any) -> Any:
        count, number = x
        return fast(shot)(mask, w, batch, count, jax.random.fold_in(key, number))

    numbers = jnp.arange(len(counts))
    mask, (kept, empty, broken, zero) = lax.scan(body, mask, (counts, numbers))
    return like(w, mask), Report(kept, _first(empty), _first(broken), _first(zero))


def _observed(
    scores: PyTree, competing: PyTree, after: PyTree, layers: list[tuple[int, ...]]
) -> tuple[jax.Array, ...]:
    """One shot's counts per leaf, which have an empty layer, or scores not finite; all zero."""
    pairs = list(zip(jax.tree.leaves(scores), jax.tree.leaves(competing)))
    kept = [jnp.sum(leaf, dtype=jnp.int32) for leaf in jax.tree.leaves(after)]
    empty = [
        ~jnp.all(jnp.any(leaf, axis=tuple(set(range(leaf.ndim)) - set(stacked))))
        for leaf, stacked in zip(jax.tree.leaves(after), layers)
    ]
    broken = [jnp.any(there & ~jnp.isfinite(s)) for s, there in pairs]
    some = [jnp.any(there & (s != 0)) for s, there in pairs]
    counts = jnp.stack(kept)
    return counts, jnp.stack(empty), jnp.stack(broken), ~jnp.any(jnp.stack(some))


def _first(happened: jax.Array) -> jax.Array:
    """The first shot, from 1, at which it happened; 0 if never. Along axis 0."""
    return jnp.where(happened.any(axis=0), happened.argmax(axis=0) + 1, 0).astype(jnp.int32)
