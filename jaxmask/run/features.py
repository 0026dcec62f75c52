"""Features of a weight besides its scores by criteria: of its layer, of activations.

They have the shape of criteria: each is a `Criterion` whose scorer gives a number for every weight.
As a criterion by itself, none makes sense.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxmask import tree
from jaxmask.errors import InputError
from jaxmask.mask.axes import Axes, answers, layers_of
from jaxmask.run.criteria import Criterion, Subject

Scorer = Callable[..., Any]


def weight() -> Criterion:
    """The weight itself."""
    return Criterion("weight", lambda at: lambda w, *batch: w, needs_data=False)


def norm() -> Criterion:
    """The Frobenius norm of the weight's layer."""

    def build(at: Subject) -> Scorer:
        def scores(w: Any, *batch: Any) -> Any:
            leaves, structure = jax.tree.flatten(w)
            stacked = layers_of(w, at.axes, "the norm of a layer")
            return jax.tree.unflatten(
                structure, [_over(_size, *each) for each in zip(leaves, stacked)]
            )

        return scores

    return Criterion("norm", build, needs_data=False)


def row_mean() -> Criterion:
    """The mean of the weights from the same input, as to all outputs."""
    return _mean("row_mean", lambda axes: axes.outputs)


def column_mean() -> Criterion:
    """The mean of the weights to the same output, as from all inputs and over the window."""
    return _mean("column_mean", lambda axes: (*axes.window, *axes.inputs))


def input_largest() -> Criterion:
    """The largest activation of the weight's input, over the images (and places)."""
    return _activation("input_largest", 0, jnp.max)


def input_mean() -> Criterion:
    """The mean activation of the weight's input."""
    return _activation("input_mean", 0, jnp.mean)


def output_largest() -> Criterion:
    """The largest output of the weight's layer at its output, before the nonlinearity."""
    return _activation("output_largest", 1, jnp.max)


def output_mean() -> Criterion:
    """The mean output of the weight's layer at its output, before the nonlinearity."""
    return _activation("output_mean", 1, jnp.mean)


def density() -> Criterion:
    """The share of weights that is to be kept in the end, the same number for all."""

    def build(at: Subject) -> Scorer:
        if at.density is None:
            raise InputError("the feature 'density' needs a density to prune to; set one")
        return lambda w, *batch: jax.tree.map(
            lambda leaf: jnp.full(leaf.shape, at.density, leaf.dtype), w
        )

    return Criterion("density", build, needs_data=False)


FEATURES: dict[str, Callable[[], Criterion]] = {
    each.__name__: each
    for each in (weight, norm, row_mean, column_mean, input_largest, input_mean, output_largest,
                 output_mean, density)
}  # fmt: skip
# those that a scale over one network would make the same everywhere
UNSCALED = ("density",)


def _size(w: jax.Array, **over: Any) -> jax.Array:
    return jnp.sqrt(jnp.sum(jnp.square(w), **over))


def _over(reduce: Callable[..., jax.Array], w: jax.Array, kept: tuple[int, ...]) -> jax.Array:
    """A statistic over all axes but some, for each entry."""
    axes = tuple(set(range(w.ndim)) - set(kept))
    return jnp.broadcast_to(reduce(w, axis=axes, keepdims=True), w.shape)


def _mean(name: str, over: Callable[[Axes], tuple[int, ...]]) -> Criterion:
    def build(at: Subject) -> Scorer:
        def scores(w: Any, *batch: Any) -> Any:
            leaves, structure = jax.tree.flatten(w)
            axes = answers(w, at.axes, lambda found, shape: over(found), f"the feature {name!r}")
            means = [
                jnp.broadcast_to(leaf.mean(axis=each, keepdims=True), leaf.shape)
                for leaf, each in zip(leaves, axes)
            ]
            return jax.tree.unflatten(structure, means)

        return scores

    return Criterion(name, build, needs_data=False)


def _activation(name: str, side: int, reduce: Callable[..., jax.Array]) -> Criterion:
    """A statistic of what a layer is given (side 0) or gives (1), for each of its weights."""

    def build(at: Subject) -> Scorer:
        def scores(w: Any, images: jax.Array, *labels: Any) -> Any:
            seen = _activations(at, w, images)
            found = []
            for path, leaf in tree.named_leaves(w).items():
                values = seen.get(path.removesuffix("/kernel"), ())
                channel = leaf.ndim - 2 + side
                if len(values) != 2 or values[side].shape[-1] != leaf.shape[channel]:
                    raise InputError(
                        f"the feature {name!r} is known of kernels of Dense and Conv layers that "
                        f"are called once, and {path!r} is none; leave the feature out"
                    )
                each = reduce(values[side], axis=tuple(range(values[side].ndim - 1)))
                shape = [leaf.shape[i] if i == channel else 1 for i in range(leaf.ndim)]
                found.append(jnp.broadcast_to(each.reshape(shape), leaf.shape))
            return jax.tree.unflatten(jax.tree.structure(w), found)

        return scores

    return Criterion(name, build)


def _activations(at: Subject, w: Any, images: jax.Array) -> dict[str, tuple[jax.Array, ...]]:
    """(input, output) of every Dense and Conv layer, by its path; more of one called again."""
    seen: dict[str, tuple[jax.Array, ...]] = {}

    def watched(call: Any, arguments: Any, named: Any, context: Any) -> Any:
        given = call(*arguments, **named)
        if isinstance(context.module, nn.Dense | nn.Conv) and context.method_name == "__call__":
            path = "/".join(context.module.path)
            seen[path] = (*seen.get(path, ()), arguments[0], given)
        return given

    with nn.intercept_methods(watched):
        at.apply(tree.combine(w, at.rest), at.batch_stats, images, at.train)
    return seen
