"""SynFlow: how much synaptic flow goes through each weight, without any data."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jaxmask.convolution import fast
from jaxmask.errors import InputError, nearest
from jaxmask.precision import widened
from jaxmask.score.unbounded import unbounded
from jaxmask.sharding import like
from jaxmask.tree import PyTree, is_floating, named_leaves

STATISTICS = ("keep", "absolute", "neutral")


def synflow(forward: Callable[[PyTree], jax.Array]) -> Callable[..., PyTree]:
    """`s = |w| * dR/d|w|`, with `R = sum(forward(|w|))`, the synaptic flow.

    In a network without biases whose activations are positively homogeneous (ReLU), R is the sum
    over all paths of the products of their weights, and the scores are conserved: those of each
    layer add up to R, and those into a hidden unit to the same sum as those out of it.

    Flow grows from layer to layer and would soon reach an activation's upper bound, such as the 6
    of ReLU6, where every gradient is zero: `min(x, c)` and `clip(x, 0, c)` with a constant c above
    0 count as if there were no bound.

    The products overflow float32 in deep networks (a ResNet-32 at initialization). Scores are
    computed in the dtype of `w`: give float64 weights, and a forward that computes in float64.

    Source: Tanaka, Kunin, Yamins, Ganguli, Pruning neural networks without any data by
    iteratively conserving synaptic flow, 2020, https://arxiv.org/abs/2006.05467.

    Args:
      forward: weights -> outputs, for one input of ones, in eval mode. It closes over what is not
        scored, made absolute by `score.absolute`.

    Returns:
      A scorer (w, *batch) -> scores of the shapes of `w`, in float32 or wider; the batch is not
      used.

    Raises:
      InputError: when called with weights that are not traced, if the flow overflows; if a bound
        is inside an operation where it cannot be left out, such as a `while_loop`.

    Example:
      >>> forward = lambda w: jnp.ones(2) @ w["a"] @ w["b"]
      >>> w = {"a": jnp.array([[1.0], [-2.0]]), "b": jnp.array([[-3.0]])}
      >>> jax.tree.map(lambda leaf: leaf.ravel().tolist(), score.synflow(forward)(w))
      {'a': [3.0, 6.0], 'b': [9.0]}
    """

    free = unbounded(forward)

    @jax.jit
    def flow(w: PyTree) -> tuple[PyTree, list[jax.Array]]:
        sizes = jax.tree.map(jnp.abs, w)
        gradient = fast(jax.grad(lambda sizes: jnp.sum(widened(free(sizes)))))(sizes)
        found = like(w, jax.tree.map(lambda s, g: widened(s) * widened(g), sizes, gradient))
        return found, list(map(_finite, jax.tree.leaves(found)))

    def scores(w: PyTree, *batch: Any) -> PyTree:
        del batch
        found, finite = flow(w)
        if not any(isinstance(each, jax.core.Tracer) for each in finite):
            _check_overflow(found, [bool(each) for each in jax.device_get(finite)])
        return found

    return scores


def absolute(variables: Mapping[str, Any], statistics: str = "keep") -> dict[str, Any]:
    """A network's variables with absolute parameters, for SynFlow's forward to close over.

    Biases, and the scale and shift of batch norms, are parameters: they become `|p|`. Running
    statistics are not; `statistics` says what to do about them:

    - `"keep"` leaves them as they are. At initialization (mean 0, variance 1) a batch norm then
      multiplies by `|scale|` and adds `|bias|`, and the flow is that of the other layers.
      With the statistics of a trained network the mean is subtracted, the flow is no longer a sum
      of positive paths, and a ReLU may cut it off.
    - `"absolute"` takes `|mean|` too, as the published code does, which treats all arrays of
      the network alike.
    - `"neutral"` replaces them by mean 0 and variance 1: the flow of the weights alone, even in a
      trained network.

    Args:
      variables: `{"params": ..., "batch_stats": ...}`, as Flax's `init` returns them; anything
        else in it stays as it is. In `"batch_stats"`, leaves named `mean` and `var`.
      statistics: one of the three.

    Raises:
      InputError: an unknown choice, or for `"neutral"` a statistic that is neither mean nor var.

    Example:
      >>> variables = {"params": {"bias": jnp.array([-1.0])}, "batch_stats": {}}
      >>> score.absolute(variables)["params"]["bias"].tolist()
      [1.0]
    """
    if statistics not in STATISTICS:
        raise InputError(f"unknown statistics {statistics!r}{nearest(str(statistics), STATISTICS)}")
    changed = {"params": _absolute(variables["params"])}
    found = variables.get("batch_stats", {})
    if statistics == "absolute":
        changed["batch_stats"] = _absolute(found)
    elif statistics == "neutral":
        neutral = [_neutral(path, leaf) for path, leaf in named_leaves(found).items()]
        changed["batch_stats"] = jax.tree.unflatten(jax.tree.structure(found), neutral)
    return {**variables, **changed}


def _absolute(tree: PyTree) -> PyTree:
    return jax.tree.map(lambda leaf: jnp.abs(leaf) if is_floating(leaf) else leaf, tree)


def _neutral(path: str, leaf: jax.Array) -> jax.Array:
    values = {"mean": 0.0, "var": 1.0}
    name = path.split("/")[-1]
    if name not in values:
        raise InputError(
            f"batch_stats: {path!r} is neither a mean nor a var, so no neutral value is known; "
            "use statistics='keep'"
        )
    return jnp.full_like(leaf, values[name])


def _finite(leaf: jax.Array) -> jax.Array:
    """Whether all of a leaf is finite, in one pass: a CPU would first write which elements are."""
    largest = jnp.max(jnp.abs(leaf), tuple(range(leaf.ndim - 1)), initial=0)
    return jnp.isfinite(largest).all()


def _check_overflow(scores: PyTree, finite: list[bool]) -> None:
    if all(finite):
        return
    path, leaf = list(named_leaves(scores).items())[finite.index(False)]
    raise InputError(
        f"synflow: the flow through {path!r} is not finite in {leaf.dtype}; "
        "give weights, and a forward, in float64 (under jax.enable_x64)"
    )
