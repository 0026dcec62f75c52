"""Criteria composed of criteria by name: "stack(snip(), synflow())", "learned('PATH')"."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from jaxmask import score
from jaxmask.errors import InputError
from jaxmask.run import regressors
from jaxmask.run.criteria import CRITERIA, Criterion, Subject
from jaxmask.run.features import FEATURES
from jaxmask.score.compose import by_sum, remaining
from jaxmask.train.named import call


def stack(first: Criterion, second: Criterion, normalize: bool = False) -> Criterion:
    """The second criterion on the first one's scores in place of the weights: `score.stack`.

    At every shot both score what is left. If one part needs float64 (SynFlow), all are computed in
    it: the second one is given the first one's scores as they are, not rounded to float32. The
    second criterion draws random numbers of its own. A sum over training (movement, in a lottery)
    is the first one's alone: the second one scores weights that were never trained.

    Pruned weights may come back if all parts score them, by their original weights or by the first
    one's scores of these: `snip(revive=True)` and `magnitude` do.

    Scores that are not finite, or all zero, are not passed on: all become NaN, which ends the run.

    Args:
      normalize: divides the first scores by the size of their sum; see `score.stack`.
    """
    parts = _checked("stack", first, second)
    if not isinstance(normalize, bool):
        raise InputError(f"criterion 'stack': normalize {normalize!r}; it must be True or False")
    revives = any(part.revives for part in parts)
    idle = [part.name for part in parts if not part.everywhere]
    if revives and idle:
        raise InputError(
            f"criterion 'stack': {idle[0]!r} gives pruned weights no score, so that none comes "
            "back: set revive=True in every part that is SNIP, beside magnitude alone, or in none"
        )

    def build(at: Subject) -> Callable[..., Any]:
        mine = first.scorer(at)

        def scores(w: Any, *batch: Any) -> Any:
            given = mine(w, *batch)
            given = by_sum(given) if normalize else given
            left = remaining(w, given)
            if at.passes is not None:
                at.passes(first.name, second.name, w, left)
            key = jax.random.fold_in(at.key, 1)
            origin = None if at.origin is None else given
            found = second.scorer(at._replace(key=key, origin=origin, summed=None))(left, *batch)
            usable = _usable(left)
            return jax.tree.map(lambda s: jnp.where(usable, s, jnp.nan), found)

        return scores

    return composed(f"stack({first.name}, {second.name})", build, parts)._replace(
        sums_training=first.sums_training, weights=second.weights
    )


def as_weights(
    criterion: Criterion, scope: str = "global", sign: str = "weight", shift: bool = False
) -> Criterion:
    """A criterion's scores as weights, for another one to score: `score.as_weights`."""
    parts = _checked("as_weights", criterion)
    score.as_weights(score.magnitude(), scope, sign, shift)  # raises for an unknown choice

    def build(at: Subject) -> Callable[..., Any]:
        mine = criterion.scorer(at)

        def weights(w: Any, *batch: Any) -> Any:
            found = mine(w, *batch)
            around = w if at.origin is None else at.origin
            return score.as_weights(lambda _: found, scope, sign, shift, at.axes)(around)

        return weights

    made = composed(f"as_weights({criterion.name})", build, parts)
    return made._replace(sums_training=criterion.sums_training, weights=True)


def learned(path: str) -> Criterion:
    """What a regressor in a file predicts from other criteria's scores: `score.learned`.

    At every shot all of its criteria score what is left. If one of them needs float64 (SynFlow),
    all are computed in it. A sum over training (movement, in a lottery) is not among its features:
    they are of untrained weights.

    Args:
      path: a file that the recipe `learn_scores` wrote, or its folder.

    Raises:
      InputError: it cannot be read.
    """
    if not isinstance(path, str):
        raise InputError("criterion 'learned' takes a file: write learned('PATH')")
    found = regressors.load(Path(path))
    parts = tuple(feature(text) for text in found.features)
    name, kind = found.fingerprint(), found.regressor.kind

    def build(at: Subject) -> Callable[..., Any]:
        predict = regressors.predictor(kind, at.held[name])
        return score.learned(predict, scorers_of(parts, at), found.scales)

    made = composed(f"learned({Path(path).name})", build, parts)
    return made._replace(held={**made.held, name: dict(found.regressor.arrays)}, everywhere=False)


def scorers_of(parts: Sequence[Criterion], at: Subject) -> list[Callable[..., Any]]:
    """The scorers of features, each with random numbers of its own."""

    def scorer(index: int, part: Criterion) -> Callable[..., Any]:
        key = jax.random.fold_in(at.key, index)
        mine = part.scorer(at._replace(key=key, origin=None, summed=None))

        def scores(w: Any, *batch: Any) -> Any:
            found = mine(w, *batch)
            if at.passes is not None:
                at.passes(part.name, "the regressor", w, found)
            return found

        return scores

    return [scorer(index, part) for index, part in enumerate(parts)]


def feature(text: str) -> Criterion:
    """A criterion, or another number for each weight (`run.features`), to predict scores from.

    Raises:
      InputError: it is unknown, or does not take these settings; or pruned weights come back by it.
    """
    found = call(text, {**CRITERIA, **COMPOSITES, **FEATURES}, "feature")
    if found.revives:
        raise InputError(
            f"feature {text!r}: scores are learned of the weights that are left; set revive=False"
        )
    return found


COMPOSITES: dict[str, Callable[..., Criterion]] = {
    each.__name__: each for each in (stack, as_weights, learned)
}


def criterion(text: str) -> Criterion:
    """The criterion that a config names, with settings: "grasp(temperature=200)", "stack(a, b)".

    Raises:
      InputError: the criterion is unknown, or does not take these settings; or it gives weights.
    """
    found = call(text, {**CRITERIA, **COMPOSITES}, "criterion")
    if found.weights:
        raise InputError(
            f"criterion {text!r} gives weights, of which those below 0 would be pruned first: rank "
            f"them by another one, stack({text}, magnitude()), or set initial to train from them"
        )
    return found


def _checked(name: str, *parts: Any) -> tuple[Criterion, ...]:
    for part in parts:
        if not isinstance(part, Criterion):
            raise InputError(
                f"criterion {name!r} is composed of criteria, not of {part!r}; write "
                + ("stack(snip(), synflow())" if name == "stack" else "as_weights(snip())")
            )
    return parts


def composed(
    name: str, build: Callable[[Subject], Callable[..., Any]], parts: tuple[Criterion, ...]
) -> Criterion:
    """A composite needs what any of its parts needs."""
    return Criterion(
        name,
        build,
        needs_data=any(part.needs_data for part in parts),
        double=any(part.double for part in parts),
        single_examples=any(part.single_examples for part in parts),
        revives=any(part.revives for part in parts),
        everywhere=all(part.everywhere for part in parts),
        parts=parts,
        held={name: arrays for part in parts for name, arrays in part.held.items()},
    )


def _usable(scores: Any) -> jax.Array:
    """Whether all scores are finite and some are not zero."""
    leaves = jax.tree.leaves(scores)
    finite = jnp.stack([jnp.isfinite(leaf).all() for leaf in leaves]).all()
    return finite & jnp.stack([(leaf != 0).any() for leaf in leaves]).any()
